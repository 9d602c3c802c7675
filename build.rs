//! Tells the program which revision and compiler it was built from, and cargo that it carries the dashboards. Never
//! fails: what is not known is `unknown`.

#![allow(clippy::disallowed_methods, reason = "cargo tells a build script what it needs by variables")]

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A file that is new there is not noticed otherwise.
    println!("cargo:rerun-if-changed=dashboards");
    println!("cargo:rerun-if-env-changed=TALKOVER_EXPORTER_REVISION");
    println!("cargo:rustc-env=TALKOVER_EXPORTER_BUILD_REVISION={}", revision());
    println!("cargo:rustc-env=TALKOVER_EXPORTER_BUILD_RUSTC={}", rustc());
}

/// Where the sources are built without their repository, as in a container, the variable may say what they are.
fn revision() -> String {
    if let Ok(given) = std::env::var("TALKOVER_EXPORTER_REVISION")
        && !given.trim().is_empty()
    {
        return given.trim().to_owned();
    }
    // The log grows with every commit. Without it the sources lie in no repository, or in somebody else's.
    let log = Path::new(".git/logs/HEAD");
    if !log.exists() {
        return "unknown".to_owned();
    }
    println!("cargo:rerun-if-changed={}", log.display());
    first_line("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|| "unknown".to_owned())
}

/// `rustc --version` reads `rustc 1.95.0 (…)`; the number is what is wanted.
fn rustc() -> String {
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = first_line(&compiler, &["--version"]).unwrap_or_default();
    version.split_whitespace().nth(1).unwrap_or("unknown").to_owned()
}

fn first_line(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

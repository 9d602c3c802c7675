//! The documents say what the program does: the metric reference is the catalogue's, and the examples are accepted.

use std::path::Path;

use talkover_exporter::config::{self, EnvVars};
use talkover_exporter::sinks::metrics::reference;

const BEGIN: &str = "<!-- metrics:begin -->\n";
const END: &str = "<!-- metrics:end -->";

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_metric_reference_is_current() {
    let readme = document("README.md");
    let (head, rest) = readme.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    let wanted = reference::markdown();
    if found != wanted && std::env::vars_os().any(|(name, _)| name == "UPDATE_DOCS") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        std::fs::write(path, format!("{head}{BEGIN}{wanted}{END}{tail}")).unwrap();
        return;
    }
    assert!(found == wanted, "the metric reference of README.md is not current: run `UPDATE_DOCS=1 cargo test docs`");
}

#[test]
fn the_configurations_shown_are_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "talq_example").unwrap();
    let names = ["TALKOVER_TOKEN", "TALKOVER_STAGING_TOKEN"];
    let environment: EnvVars = names.map(|name| (name.to_owned(), "talq_example".to_owned())).into();
    let readme = document("README.md");
    let examples = readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("\n```").map(|(code, _)| code));
    let files = ["config/example.yml", "packaging/config.yml", "deploy/kustomize/example/talkover.yml"].map(document);
    let mut checked = 0;
    for text in examples.chain(files.iter().map(String::as_str)).filter(|text| text.contains("environments:")) {
        // The files that it names are those of the reader's machine.
        let lines = text.lines().map(|line| match line.split_once("token_file:") {
            Some((before, _)) => format!("{before}token_file: {:?}", token),
            None if line.trim_start().starts_with("web_config_file:") => String::new(),
            None => line.to_owned(),
        });
        let text: String = lines.map(|line| line + "\n").collect();
        if let Err(faults) = config::parse(Path::new("example"), text.as_bytes(), &environment) {
            panic!("{faults}\n{text}");
        }
        checked += 1;
    }
    assert!(checked >= 4, "only {checked} examples were found");
}

#[test]
fn the_architecture_stays_short() {
    let lines = document("ARCHITECTURE.md").lines().count();
    assert!(lines <= 150, "ARCHITECTURE.md has {lines} lines");
}

#[test]
fn the_links_between_the_documents_lead_somewhere() {
    let names = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "RELEASING.md", "SECURITY.md"];
    for name in names.into_iter().chain(["docs/install.md"]) {
        let text = document(name);
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link));
        for link in links.filter(|link| !link.starts_with("http") && !link.starts_with('#')) {
            let path = link.split('#').next().unwrap();
            assert!(directory.parent().unwrap().join(path).exists(), "{name}: {link}");
        }
    }
}

//! The documents say what the program does: references are made from what they describe, and examples are accepted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use talkover_exporter::config::{self, EnvVars};
use talkover_exporter::sinks::metrics::reference;

mod commands;
mod configuration;

/// Lines that a page may have.
const LONGEST_PAGE: usize = 150;
/// Pages that may be longer, with the reason.
const LONGER: [(&str, &str); 2] = [
    ("docs/runbooks.md", "alerts that are deployed link to its sections, so they stay on one page"),
    ("docs/otel.md", "metrics, log records, both kinds of traces and a collector belong together"),
];
/// Columns of a line, but for those that cannot be broken.
const WIDEST_LINE: usize = 120;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn document(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every page of the documentation: at the top of the repository, and in `docs`.
fn pages() -> Vec<String> {
    let list = |directory: &str| {
        let files = path(directory).read_dir().unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let pages = files.filter(|name| name.ends_with(".md"));
        pages.map(|name| if directory.is_empty() { name } else { format!("{directory}/{name}") }).collect::<Vec<_>>()
    };
    let pages = [list(""), list("docs")].concat();
    assert!(pages.len() >= 15, "only {pages:?} were found");
    pages
}

/// Demands that a page has `wanted` between its marks `<!-- NAME:begin -->` and `<!-- NAME:end -->`.
fn assert_current(page: &str, name: &str, wanted: &str) {
    let text = document(page);
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
    let (head, rest) = text.split_once(&begin).unwrap();
    let (found, tail) = rest.split_once(&end).unwrap();
    if found != wanted && std::env::vars_os().any(|(name, _)| name == "UPDATE_DOCS") {
        std::fs::write(path(page), format!("{head}{begin}{wanted}{end}{tail}")).unwrap();
        return;
    }
    assert!(found == wanted, "the {name} in {page} are not current: run `UPDATE_DOCS=1 cargo test docs`");
}

#[test]
fn the_references_are_current() {
    assert_current("docs/metrics.md", "metrics", &reference::markdown());
    assert_current("docs/configuration.md", "configuration", &configuration::markdown(&document("config/default.yml")));
}

#[test]
fn the_configurations_shown_are_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "talq_example").unwrap();
    let names = ["TALKOVER_TOKEN", "TALKOVER_STAGING_TOKEN"];
    let environment: EnvVars = names.map(|name| (name.to_owned(), "talq_example".to_owned())).into();
    let texts: Vec<String> = pages().iter().map(|name| document(name)).collect();
    // Values of the Helm chart have a configuration within them, which is no file.
    let examples = texts.iter().flat_map(|text| blocks(text, "yaml")).filter(|text| !text.contains("serviceMonitor:"));
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
    assert!(checked >= 5, "only {checked} examples were found");
}

/// The blocks of code in this language.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let begin = format!("```{language}\n");
    let blocks = text.split(begin.as_str()).skip(1).filter_map(|rest| rest.split_once("\n```").map(|(code, _)| code));
    blocks.collect()
}

#[test]
fn pages_stay_short() {
    for name in pages() {
        let text = document(&name);
        // What is made from a definition is as long as that is.
        let parts = text.split("<!-- ").map(|part| match part.split_once(":begin -->") {
            Some(_) => 0,
            None => part.lines().count(),
        });
        let lines: usize = parts.sum();
        let allowed = LONGER.iter().any(|(page, _)| *page == name) || name == "CHANGELOG.md" || name == "LICENSE";
        assert!(lines <= LONGEST_PAGE || allowed, "{name} has {lines} lines");
    }
}

/// Tables, pictures, addresses and output are as wide as they are.
#[test]
fn lines_fit_a_screen() {
    for name in pages() {
        let mut in_code = false;
        for (number, line) in document(&name).lines().enumerate() {
            in_code ^= line.starts_with("```");
            let whole = in_code || line.starts_with(['|', '!']) || !line.trim_start().contains(' ');
            assert!(whole || line.chars().count() <= WIDEST_LINE, "{name}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn the_links_between_the_documents_lead_somewhere() {
    let mut anchors_checked = 0;
    for name in pages() {
        let text = document(&name);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(link, _)| link));
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
            let target = match file {
                "" => path(&name),
                file => path(&name).parent().unwrap().join(file),
            };
            assert!(target.exists(), "{name}: {link}");
            if let Some(anchor) = anchor {
                let sections = sections(&std::fs::read_to_string(target).unwrap());
                assert!(sections.contains(anchor), "{name}: no section {link}; there are {sections:?}");
                anchors_checked += 1;
            }
        }
    }
    assert!(anchors_checked >= 5, "{anchors_checked}");
}

/// The anchors of a page's headings, as GitHub makes them.
fn sections(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept =
            heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c)).collect::<String>();
        kept.replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The README says what to do and what one gets; everything else has a page, and the README leads to all of them.
#[test]
fn the_readme_leads_to_every_page() {
    let readme = document("README.md");
    let generated = ["README.md", "RELEASING.md"];
    for name in pages().iter().filter(|name| !generated.contains(&name.as_str())) {
        assert!(readme.contains(&format!("]({name}")), "README.md does not lead to {name}");
    }
}

//! The corpora of the fuzz targets, run as plain tests.

use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/properties/companions.rs"]
mod companions;
#[path = "../../fuzz/properties/config.rs"]
mod config;
#[path = "../../fuzz/properties/state.rs"]
mod state;
#[path = "../../fuzz/properties/web_config.rs"]
mod web_config;
#[path = "../../fuzz/properties/wire.rs"]
mod wire;

/// Gives every file of a corpus to `check`, and names those with which it panics.
fn run(corpus: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let files: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("failed to list {}: {error}", directory.display()))
        .map(|file| file.unwrap().path())
        .collect();
    assert!(!files.is_empty(), "{} is empty", directory.display());
    let failed: Vec<_> = files.iter().filter(|file| !holds(check, file)).collect();
    assert!(failed.is_empty(), "{} of {} files failed: {failed:#?}", failed.len(), files.len());
}

fn holds(check: fn(&[u8]), file: &Path) -> bool {
    let bytes = std::fs::read(file).unwrap();
    catch_unwind(|| check(&bytes)).is_ok()
}

#[test]
fn every_answer_of_the_corpus_keeps_the_properties() {
    run("wire", wire::check);
}

#[test]
fn every_configuration_of_the_corpus_keeps_the_properties() {
    run("config", config::check);
}

#[test]
fn every_web_file_of_the_corpus_keeps_the_properties() {
    run("web_config", web_config::check);
}

#[test]
fn every_state_of_the_corpus_keeps_the_properties() {
    run("state", state::check);
}

#[test]
fn all_files_beside_a_state_of_the_corpus_keep_the_properties() {
    run("companions", companions::check);
}

//! A disk that is full, and one day is not any more.

use std::io::Write;

use super::*;

const FULL: &str = "No space left on device";

/// Fills a disk to the last byte.
fn fill(path: &Path) {
    let mut ballast = std::fs::File::create(path).unwrap();
    for piece in [64 * 1024, 1] {
        let bytes = vec![0; piece];
        let error = loop {
            if let Err(error) = ballast.write_all(&bytes) {
                break error;
            }
        };
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }
}

/// A daemon that has counted something, and more after its disk was full.
struct Met {
    scene: Scene,
    _disk: Mount,
    ballast: PathBuf,
    exporter: Exporter,
    /// What it showed before.
    before: Scrape,
}

impl Met {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let _disk = Mount::new(&["-t", "tmpfs", "-o", "size=2m", "none"], scene.directory());
        let ballast = scene.directory().join("ballast");
        scene.deliver(8);
        let exporter = scene.start().await;
        let before = scene.wait_for_truth(&exporter).await;
        fill(&ballast);
        // More than fits into what the write-ahead log has on the disk already.
        scene.deliver(4000);
        assert_serves_while_failing(&exporter, &before).await;
        Self { scene, _disk, ballast, exporter, before }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system"]
async fn a_full_disk_stops_the_counting_and_not_the_serving() {
    let Met { scene, _disk, ballast, exporter, before } = Met::new().await;
    assert_told(&exporter, FULL).await;
    exporter.kill().await;

    // What a killed daemon leaves is enough to go on serving from, full as the disk is.
    let exporter = scene.start().await;
    assert_serves_while_failing(&exporter, &before).await;
    std::fs::remove_file(&ballast).unwrap();
    let after = scene.wait_for_truth(&exporter).await;
    after.assert_not_below(&before);
    let is_told = |log: &[String]| log.iter().any(|line| line.contains("state file writable again"));
    exporter.wait_for_log("that it can be written", is_told).await;
    scene.assert_sound().await;
    assert_eq!(exporter.terminate().await, Some(0));
    scene.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system"]
async fn a_daemon_stops_and_starts_on_a_full_disk_but_makes_no_state_there() {
    let Met { scene, _disk, ballast, exporter, before } = Met::new().await;
    assert_eq!(exporter.terminate().await, Some(0), "what could not be written is read again");

    let exporter = scene.start().await;
    assert_serves_while_failing(&exporter, &before).await;
    assert_eq!(exporter.terminate().await, Some(0));
    let (name, path) = scene.state();
    let said = scene.assert_refused((name, path.replace("state.db", "new.db"))).await;
    // The system says so, or SQLite does where a few pages are free again.
    let is_full = said.contains(FULL) || said.contains("disk is full");
    assert!(said.contains("/state/new.db") && is_full, "{said}");

    std::fs::remove_file(&ballast).unwrap();
    let exporter = scene.start().await;
    scene.wait_for_truth(&exporter).await.assert_not_below(&before);
    scene.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system"]
async fn a_daemon_starts_on_a_full_disk_though_its_file_cannot_take_the_write_ahead_log() {
    let scene = Scene::new().await;
    let _disk = Mount::new(&["-t", "tmpfs", "-o", "size=4m", "none"], scene.directory());
    scene.deliver(1);
    let exporter = scene.start().await;
    scene.wait_for_truth(&exporter).await;
    // More than fits into the pages that the file has.
    scene.deliver(300);
    let before = scene.wait_for_truth(&exporter).await;
    fill(&scene.directory().join("ballast"));
    exporter.kill().await;

    let exporter = scene.start().await;
    let told = |log: &[String]| log.iter().any(|line| line.contains("failed to checkpoint the write-ahead log"));
    exporter.wait_for_log("what it could not do", told).await;
    scene.wait_for_truth(&exporter).await.assert_not_below(&before);
    exporter.kill().await;
    std::fs::remove_file(scene.directory().join("ballast")).unwrap();
    let exporter = scene.start().await;
    assert!(!told(&exporter.log()), "{:#?}", exporter.log());
    scene.wait_for_truth(&exporter).await.assert_not_below(&before);
    scene.assert_sound().await;
}

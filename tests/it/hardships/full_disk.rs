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
        scene.deliver(400);
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
    assert!(said.contains("/state/new.db") && said.contains(FULL), "{said}");

    std::fs::remove_file(&ballast).unwrap();
    let exporter = scene.start().await;
    scene.wait_for_truth(&exporter).await.assert_not_below(&before);
    scene.assert_sound().await;
}

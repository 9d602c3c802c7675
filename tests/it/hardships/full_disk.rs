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

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system"]
async fn a_full_disk_stops_the_counting_and_not_the_serving() {
    let scene = Scene::new().await;
    let _disk = Mount::new(&["-t", "tmpfs", "-o", "size=2m", "none"], scene.directory());
    let ballast = scene.directory().join("ballast");
    scene.deliver(8);
    let exporter = scene.start().await;
    let before = scene.wait_for_truth(&exporter).await;

    fill(&ballast);
    scene.deliver(400);
    assert_serves_while_failing(&exporter, &before).await;
    assert_told(&exporter, FULL);
    exporter.kill().await;

    // What a killed daemon leaves is enough to go on serving from, full as the disk is.
    let exporter = scene.start().await;
    assert_serves_while_failing(&exporter, &before).await;
    std::fs::remove_file(&ballast).unwrap();
    let after = scene.wait_for_truth(&exporter).await;
    after.assert_not_below(&before);
    assert!(exporter.log().iter().any(|line| line.contains("the state file can be written again")));
    scene.assert_sound().await;
    assert_eq!(exporter.terminate().await, Some(0));
    scene.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "mounts a file system"]
async fn a_daemon_stops_and_starts_on_a_full_disk_but_makes_no_state_there() {
    let scene = Scene::new().await;
    let _disk = Mount::new(&["-t", "tmpfs", "-o", "size=2m", "none"], scene.directory());
    let ballast = scene.directory().join("ballast");
    scene.deliver(8);
    let exporter = scene.start().await;
    let before = scene.wait_for_truth(&exporter).await;
    fill(&ballast);
    scene.deliver(400);
    assert_serves_while_failing(&exporter, &before).await;
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

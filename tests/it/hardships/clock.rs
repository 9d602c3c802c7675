//! The local clock says what it likes: only the server's decides what has been read.

use super::*;

const OFFSET: &str = "talkover_api_clock_offset_seconds{environment=\"test\"}";
const HOUR: f64 = 3600.0;

/// The directory and file by which libfaketime is told what time it is.
struct LocalClock {
    path: PathBuf,
}

impl LocalClock {
    /// Lets the local clock be `hours` ahead of the true one, for processes that run already too.
    fn set(&self, hours: i32) {
        let next = self.path.with_extension("next");
        std::fs::write(&next, format!("{hours:+}h\n")).unwrap();
        std::fs::rename(next, &self.path).unwrap();
    }

    fn variables(&self) -> [Variable; 4] {
        #[expect(clippy::disallowed_methods, reason = "where the library is differs from system to system")]
        let library = std::env::var("TALKOVER_TEST_LIBFAKETIME").expect("the path of libfaketime.so.1");
        [
            ("LD_PRELOAD", library),
            ("FAKETIME_TIMESTAMP_FILE", self.path.to_str().unwrap().to_owned()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // Setting the clock moves the time of day; the time since the machine was started goes on as it did.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }
}

/// Waits until the daemon knows that its clock is so far ahead, has counted everything and is done with catching up.
async fn check(scene: &Scene, exporter: &Exporter, hours: i32) -> Scrape {
    scene.wait_for_truth(exporter).await;
    let newest = |webhook: &str| {
        let truth = scene.simulator.truth();
        truth.webhook(webhook).unwrap().entries.iter().map(|entry| entry.created_at.as_seconds()).max().unwrap() as f64
    };
    let watermark = |webhook| {
        format!("talkover_exporter_watermark_timestamp_seconds{{environment=\"test\",webhook_id=\"{webhook}\"}}")
    };
    let is_right = |scrape: &Scrape| {
        let offset = scrape.get(OFFSET).unwrap() + f64::from(hours) * HOUR;
        let is_read = ["w-1", "w-2"].iter().all(|webhook| scrape.get(&watermark(webhook)) == Some(newest(webhook)));
        offset.abs() < 60.0 && is_read && scrape.sum("talkover_exporter_catching_up", &[]) == 0.0
    };
    let scrape = exporter.wait_for("the right watermarks, and no catching up", is_right).await;
    let expired = scrape.sum("talkover_exporter_log_entries_total", &["outcome=\"expired\""]);
    let ignored = scrape.sum("talkover_exporter_log_entries_total", &["outcome=\"ignored\""]);
    assert_eq!((expired, ignored), (0.0, 0.0), "{}", scrape.text);
    scrape
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs libfaketime"]
async fn a_local_clock_that_jumps_changes_nothing_in_what_is_counted() {
    let scene = Scene::new().await;
    let clock = LocalClock { path: scene.workspace.path("clock") };
    let variables: Vec<Variable> = clock.variables().into_iter().chain([scene.state()]).collect();
    let mut last = Scrape::default();
    // Further than entries are followed, and than the first contact reaches; each start is one with the clock of the
    // one before.
    for (at_start, later) in [(30, -30), (-30, 7), (7, -7), (-7, 30)] {
        clock.set(at_start);
        scene.deliver(40);
        let exporter = Exporter::start_with(&scene.config, &variables).await;
        exporter.scrape().await.assert_not_below(&last);
        check(&scene, &exporter, at_start).await;
        clock.set(later);
        scene.settle();
        scene.deliver(40);
        last = check(&scene, &exporter, later).await;
        verify(&scene.config, &[], &variables).await.assert_ok();
        assert_eq!(exporter.terminate().await, Some(0));
    }
    scene.assert_sound().await;
}

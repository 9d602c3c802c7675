//! Answers to scrapes: the same text whatever the encoding, made once for all who may have the same.

use std::io::Read;
use std::time::Duration;

use axum::body::{Body, Bytes};
use flate2::read::GzDecoder;
use prometheus::{IntCounter, Registry};
use talkover_core::delivery::{OwnerType, Target, Timestamp};
use talkover_core::server_time::LocalTime;

use super::*;
use crate::sinks::metrics::board::{Board, TargetView};
use crate::sinks::metrics::exposure::Exposure;
use crate::sinks::metrics::pushes::PushStatus;
use crate::sinks::metrics::scrape::LastScrape;
use crate::store::durable::DurableLedger;
use crate::store::handle::StoreHandle;
use crate::store::sqlite::SqliteStore;

const TEXT: ScrapeVariant = ScrapeVariant { format: Format::Text, encoding: AnswerEncoding::Identity };
const OPEN: ScrapeVariant = ScrapeVariant { format: Format::OpenMetrics, encoding: AnswerEncoding::Identity };

fn compressed(variant: ScrapeVariant) -> ScrapeVariant {
    ScrapeVariant { encoding: AnswerEncoding::Gzip, ..variant }
}

/// Of a board with so many webhooks, and one counter.
fn scraper(webhooks: usize) -> (Scraper, IntCounter) {
    let board = Board::default();
    board.add_environment("test".into(), 30);
    (0..webhooks).for_each(|number| board.add_target(view(number)));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.db");
    let store = StoreHandle::new(SqliteStore::open(&path, LocalTime::new(Timestamp::default())).unwrap());
    let (registry, counter) = (Registry::new(), IntCounter::new("test_total", "A counter.").unwrap());
    registry.register(Box::new(counter.clone())).unwrap();
    (
        Scraper {
            board,
            store: store.info().clone(),
            registry,
            pushes: PushStatus::default(),
            last_scrape: LastScrape::default(),
        },
        counter,
    )
}

fn view(number: usize) -> TargetView {
    let target = Target {
        environment: "test".into(),
        webhook_id: format!("webhook-{number:05}").into(),
        owner_type: OwnerType::Agent,
        owner_id: "a".into(),
        webhook_name: "Orders".into(),
    };
    TargetView::new(target, &DurableLedger::default(), Exposure::default(), None, Duration::ZERO)
}

fn answer(kept: &mut KeptPieces, scrape: &Scrape, variant: ScrapeVariant) -> ScrapeAnswer {
    kept.retire(scrape.version());
    kept.render(scrape, variant).unwrap()
}

async fn bytes(answer: &ScrapeAnswer) -> Bytes {
    let body = Body::new(answer.clone().body());
    let announced = http_body::Body::size_hint(&body).exact().unwrap();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    assert_eq!(bytes.len() as u64, announced);
    bytes
}

fn unzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    // One member: whatever reads only the first of several, reads all of it.
    GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

#[tokio::test]
async fn an_answer_is_the_whole_scrape_in_every_encoding() {
    // More than a few chunks, none of which ends where a family does.
    let (scraper, counter) = scraper(700);
    counter.inc();
    let scrape = scraper.scrape();
    let mut kept = KeptPieces::default();
    for variant in [TEXT, OPEN] {
        let mut expected = String::new();
        let mut writer = crate::exposition::ExpositionWriter::new(variant.format, &mut expected);
        scrape.families().try_for_each(|family| scrape.write(&family, &mut writer)).unwrap();
        writer.finish().unwrap();
        assert!(expected.len() > 500_000 && expected.contains("\ntest_total 1\n"));
        let plain = answer(&mut kept, &scrape, variant);
        assert_eq!(bytes(&plain).await, expected.as_bytes());
        let zipped = answer(&mut kept, &scrape, compressed(variant));
        assert!(bytes(&zipped).await.len() < expected.len() / 5);
        assert_eq!(unzipped(&bytes(&zipped).await), expected);
    }
}

#[tokio::test]
async fn what_shows_the_board_is_made_once_for_each_version_of_it() {
    let (scraper, counter) = scraper(10);
    let mut kept = KeptPieces::default();
    let first = answer(&mut kept, &scraper.scrape(), TEXT);
    let pieces = Arc::clone(&kept.newest[0].1);
    counter.inc();
    let second = answer(&mut kept, &scraper.scrape(), TEXT);
    assert!(Arc::ptr_eq(&pieces, &kept.newest[0].1));
    let (first, second) = (bytes(&first).await, bytes(&second).await);
    assert!(!String::from_utf8_lossy(&first).contains("test_total 1\n"));
    assert!(String::from_utf8_lossy(&second).contains("test_total 1\n"), "the daemon's own figures are of the moment");

    scraper.board.add_target(view(10));
    let third = bytes(&answer(&mut kept, &scraper.scrape(), TEXT)).await;
    assert!(!Arc::ptr_eq(&pieces, &kept.newest[0].1));
    assert!(String::from_utf8_lossy(&third).contains("webhook-00010"));
    assert!(!String::from_utf8_lossy(&second).contains("webhook-00010"));
}

#[tokio::test]
async fn clients_that_take_nothing_keep_a_bounded_number_of_versions() {
    let (scraper, _) = scraper(5000);
    let mut kept = KeptPieces::default();
    let mut untaken = Vec::new();
    let mut render = |kept: &mut KeptPieces| {
        scraper.board.update(&view(0).target, |view, _| view.polls[0] += 1);
        untaken.push(answer(kept, &scraper.scrape(), TEXT));
    };
    render(&mut kept);
    let versions = MAX_BYTES / kept.newest[0].1.bytes();
    assert!(versions > 1);
    (0..versions + 2).for_each(|_| render(&mut kept));
    assert!(kept.older.iter().map(|pieces| pieces.bytes()).sum::<usize>() <= MAX_BYTES);
    let outcomes = untaken
        .iter()
        .map(async |answer| axum::body::to_bytes(Body::new(answer.clone().body()), usize::MAX).await.is_ok());
    let mut taken = Vec::new();
    for outcome in outcomes {
        taken.push(outcome.await);
    }
    assert_eq!((taken[0], taken[1], taken.last()), (false, false, Some(&true)), "the oldest are dropped first");
    // Once nobody wants them any more, they go.
    drop(untaken);
    kept.retire(scraper.scrape().version());
    assert!(kept.older.is_empty());
}

#[tokio::test]
async fn one_thread_answers_all_who_wait() {
    let (scraper, _) = scraper(1);
    let renderer = Renderer::start(scraper, &Watchdog::default());
    let (first, second, third) =
        tokio::join!(renderer.answer(TEXT), renderer.answer(OPEN), renderer.answer(compressed(TEXT)));
    assert!(bytes(&first.unwrap()).await.starts_with(b"# HELP "));
    assert!(bytes(&second.unwrap()).await.ends_with(b"# EOF\n"));
    assert!(unzipped(&bytes(&third.unwrap()).await).starts_with("# HELP "));
}

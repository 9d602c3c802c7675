//! Clients that take nothing, and those that take little.

use std::future::poll_fn;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(30);

/// A guarded connection whose buffer takes 16 bytes, its progress, and its client.
fn connection() -> (GuardedStream<DuplexStream>, ClientProgress, DuplexStream) {
    let (server, client) = duplex(16);
    let (server, progress) = GuardedStream::new(server, TIMEOUT);
    (server, progress, client)
}

async fn take(body: &mut TrackedBody) {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
    assert!(frame.is_some_and(|frame| frame.is_ok()));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_more_is_cut_off() {
    let (mut server, _progress, client) = connection();
    let begun = Instant::now();
    let error = server.write_all(&[0; 17]).await.expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!((TIMEOUT..TIMEOUT * 5 / 4).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_is_served() {
    let (mut server, _progress, mut client) = connection();
    let reading = tokio::spawn(async move {
        let mut taken = [0; 16];
        for _ in 0..20 {
            tokio::time::sleep_until(Instant::now() + TIMEOUT / 2).await;
            client.read_exact(&mut taken).await.unwrap();
        }
    });
    server.write_all(&[0; 16 * 20]).await.unwrap();
    reading.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pings_are_no_progress_of_an_answer() {
    let (mut server, progress, mut client) = connection();
    let mut body = TrackedBody::new(Body::from("an answer"), progress);
    let pinging = tokio::spawn(async move {
        let mut pong = [0; 1];
        while client.write_all(b"p").await.is_ok() && client.read_exact(&mut pong).await.is_ok() {
            tokio::time::sleep_until(Instant::now() + Duration::from_secs(1)).await;
        }
    });
    let serve = async |server: &mut GuardedStream<DuplexStream>| -> io::Result<()> {
        loop {
            let ping = server.read_u8().await?;
            server.write_u8(ping).await?;
        }
    };
    // As long as the client takes something, its time begins anew.
    let early = tokio::time::timeout(TIMEOUT * 3 / 4, serve(&mut server)).await;
    assert!(early.is_err());
    take(&mut body).await;
    assert!(tokio::time::timeout(TIMEOUT * 3 / 4, serve(&mut server)).await.is_err());
    let error = serve(&mut server).await.expect_err("cut off");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    drop(server);
    pinging.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_an_answer_may_wait_for_its_next_request() {
    let (mut server, progress, mut client) = connection();
    drop(TrackedBody::new(Body::from("taken"), progress));
    let waiting = tokio::spawn(async move { server.read_u8().await });
    tokio::time::sleep_until(Instant::now() + TIMEOUT * 10).await;
    client.write_u8(7).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), 7);
}

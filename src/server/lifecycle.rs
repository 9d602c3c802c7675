//! `POST /-/reload`: has the configuration read again.

use axum::extract::State;
use axum::http::StatusCode;

use crate::reload::Reloader;

/// 200 when the new configuration is in force, 400 and the reasons when it is refused, 403 where the settings do not
/// allow it.
pub(super) async fn reload(State(reloader): State<Option<Reloader>>) -> (StatusCode, String) {
    let Some(reloader) = reloader else {
        return (StatusCode::FORBIDDEN, "not allowed: server.enable_lifecycle is false\n".to_owned());
    };
    // On a task of its own: a client that goes away must not leave a reload half told.
    match tokio::spawn(async move { reloader.reload("POST /-/reload").await }).await {
        Ok(Ok(())) => (StatusCode::OK, "reloaded\n".to_owned()),
        Ok(Err(reasons)) => (StatusCode::BAD_REQUEST, format!("{reasons}\n")),
        Err(failure) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{failure}\n")),
    }
}

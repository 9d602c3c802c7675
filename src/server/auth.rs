//! Asks for a user name and a password on every path, where the web file lists users, and sets the headers that it asks
//! for.
//!
//! Passwords are compared with bcrypt hashes, which is slow on purpose: off the threads that serve, two at once, and a
//! password that was right once is remembered by a digest. Neither the time nor the answer tells whether a user exists.
//! Passwords are never logged.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bcrypt::HashParts;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::reload::Live;
use super::web_config::WebSettings;

/// Guessing passwords must not take all processors from serving and polling.
const CONCURRENT_VERIFICATIONS: usize = 2;
/// Right passwords to remember: scrapers of one daemon are few.
const REMEMBERED: usize = 100;

/// Puts the gate before all of `router`, its answers to unknown paths included.
pub(super) fn protect(router: Router, live: Live) -> Router {
    let gate = Gate {
        live,
        remembered: Arc::new(Mutex::new(VecDeque::with_capacity(REMEMBERED))),
        verifications: Arc::new(Semaphore::new(CONCURRENT_VERIFICATIONS)),
    };
    router.layer(from_fn_with_state(gate, pass))
}

#[derive(Clone)]
struct Gate {
    live: Live,
    /// The oldest goes first. An entry is worth nothing once its hash has left the web file.
    remembered: Arc<Mutex<VecDeque<[u8; 32]>>>,
    verifications: Arc<Semaphore>,
}

async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let settings = gate.live.current().await;
    let mut response = if gate.admits(&settings, request.headers()).await {
        next.run(request).await
    } else {
        let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"talkover-exporter\"")];
        (StatusCode::UNAUTHORIZED, ask, "unauthorized\n").into_response()
    };
    for (name, value) in &settings.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

impl Gate {
    async fn admits(&self, settings: &WebSettings, headers: &HeaderMap) -> bool {
        if settings.users.is_empty() {
            return true;
        }
        let Some((user, password)) = credentials(headers) else { return false };
        let Some(slowest) = slowest(settings) else { return false };
        // A user who does not exist costs as much as one who does.
        let (hash, is_known) = settings.users.get(&user).map_or((slowest, false), |hash| (hash, true));
        let digest = digest(&[user.as_bytes(), &password, hash.as_bytes()]);
        if is_known && self.remembers(&digest) {
            return true;
        }
        let is_right = self.verify(password, hash.clone()).await && is_known;
        if is_right {
            self.remember(digest);
        }
        is_right
    }

    async fn verify(&self, password: Vec<u8>, hash: String) -> bool {
        let Ok(permit) = Arc::clone(&self.verifications).acquire_owned().await else { return false };
        let verification = tokio::task::spawn_blocking(move || {
            // Given back when the work is done, also where the client has gone meanwhile.
            let _permit = permit;
            bcrypt::verify(password, &hash).unwrap_or(false)
        });
        verification.await.unwrap_or(false)
    }

    fn remembers(&self, digest: &[u8; 32]) -> bool {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    fn remember(&self, digest: [u8; 32]) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.contains(&digest) {
            return;
        }
        if remembered.len() == REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back(digest);
    }
}

/// The hash that takes longest to verify.
fn slowest(settings: &WebSettings) -> Option<&String> {
    settings.users.values().max_by_key(|hash| hash.parse::<HashParts>().map_or(0, |parts| parts.get_cost()))
}

/// User and password of `Authorization: Basic` (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(decoded[..colon].to_vec()).ok()?;
    Some((user, decoded[colon + 1..].to_vec()))
}

/// SHA-256 of the parts, each after its length, so that no two lists have the same.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

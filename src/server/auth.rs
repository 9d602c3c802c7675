//! What the web file demands: the request rate limit, user name and password on every path, and its headers on every
//! response.
//!
//! [`super::verification`] compares passwords with bcrypt hashes. The digest of a password that was right is
//! remembered. Neither the duration nor the content of the response reveals whether a user exists. Passwords are never
//! logged.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::reload::Live;
use super::verification::{Crowded, PasswordCheck, Verifications};
use super::web_config::WebSettings;

/// How many right passwords are remembered: one daemon has few scrapers.
const REMEMBERED: usize = 100;

/// Puts the gate in front of `router`, including its 404 responses.
pub(super) fn protect(router: Router, live: Live) -> Router {
    let gate = Gate {
        live,
        remembered: Arc::new(Mutex::new(VecDeque::with_capacity(REMEMBERED))),
        verifications: Verifications::default(),
    };
    router.layer(from_fn_with_state(gate, pass))
}

#[derive(Clone)]
struct Gate {
    live: Live,
    /// Digests, oldest first. A digest becomes useless when its hash is removed from the web file.
    remembered: Arc<Mutex<VecDeque<[u8; 32]>>>,
    verifications: Verifications,
}

async fn pass(
    State(gate): State<Gate>,
    ConnectInfo(client): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let settings = gate.live.current().await;
    let mut response = match gate.admit(&settings, client.ip(), request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    for (name, value) in &settings.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// Why a request is refused.
enum RefusedRequest {
    /// The file's `rate_limit` is used up for this long.
    TooMany(Duration),
    Unauthorized,
    /// More passwords are tried than can be verified.
    Crowded,
}

impl IntoResponse for RefusedRequest {
    fn into_response(self) -> Response {
        match self {
            Self::TooMany(wait) => {
                let seconds = wait.as_secs_f64().ceil().to_string();
                (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds)], "too many requests\n").into_response()
            }
            Self::Unauthorized => {
                let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"talkover-exporter\"")];
                (StatusCode::UNAUTHORIZED, ask, "unauthorized\n").into_response()
            }
            Self::Crowded => {
                let reason = "busy: too many login attempts\n";
                (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], reason).into_response()
            }
        }
    }
}

impl Gate {
    async fn admit(&self, settings: &WebSettings, client: IpAddr, headers: &HeaderMap) -> Result<(), RefusedRequest> {
        if let Some(limit) = &settings.rate_limit {
            limit.take(Instant::now()).map_err(RefusedRequest::TooMany)?;
        }
        if settings.users.is_empty() {
            return Ok(());
        }
        let (user, password) = credentials(headers).ok_or(RefusedRequest::Unauthorized)?;
        let hash = settings.users.get(&user);
        let digest = hash.map(|hash| digest(&[user.as_bytes(), &password, hash.as_bytes()]));
        if digest.is_some_and(|digest| self.remembers(&digest)) {
            return Ok(());
        }
        let check = PasswordCheck::new(&settings.users, &user, password);
        let refused = match (self.verifications.verify(client, check).await, digest) {
            (Ok(true), Some(digest)) => {
                self.remember(digest);
                return Ok(());
            }
            (Ok(_), _) => RefusedRequest::Unauthorized,
            (Err(Crowded), _) => RefusedRequest::Crowded,
        };
        self.verifications.hold_back().await;
        Err(refused)
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

/// Returns user and password from `Authorization: Basic` (RFC 7617).
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

/// Returns the SHA-256 of the parts, each preceded by its length, so that different lists have different digests.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

//! Where an environment's API token comes from, and reading it.
//!
//! The token never appears in a message or in debug output. Called when the configuration is loaded, and by the API
//! client when a token file changed or the API answered 401.

use super::EnvVars;
use super::fields::Fields;
use super::redact::redacted;
use super::values::{name, path};
use crate::store::place::loose_mode;
use secrecy::{ExposeSecret, SecretString};
use std::io::Read;
use std::path::PathBuf;
use talkover_settings::bounded;

/// No server accepts headers of this size; a device or the wrong file must not be read for ever.
const MAX_BYTES: usize = 16 * 1024;

/// What shells and YAML put around text. No token begins or ends with one.
const QUOTES: [char; 3] = ['"', '\'', '`'];

/// Where a token comes from.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// A file, which may change while the daemon runs.
    File(PathBuf),
    /// An environment variable, which was read when the configuration was loaded.
    Env {
        /// The variable's name.
        name: String,
        /// What it held, checked.
        value: SecretString,
    },
}

/// Why there is no usable token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read now; later it may.
    #[error("failed to read the token file {path}: {source}", path = redacted(&path.display().to_string()))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The variable is not set.
    #[error("the environment variable {name} is not set", name = redacted(.0))]
    Unset(String),
    /// There is nothing but white space.
    #[error("the token in {0} is empty")]
    Empty(String),
    /// More than any server accepts: not a token.
    #[error("{0} holds more than a token: over 16 KiB")]
    TooLong(String),
    /// Quotes belong to a shell or to YAML, not to the token.
    #[error("the token in {0} stands in quotes: leave them off")]
    Quoted(String),
    /// No header may carry it.
    #[error("the token in {0} holds white space or characters that an HTTP header must not carry")]
    Invalid(String),
}

impl TokenSource {
    /// The file; `None` if the token comes from a variable.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Env { .. } => None,
        }
    }

    /// The token as it is now, without trailing white space: a file is read again at each call.
    ///
    /// # Errors
    /// Where there is no token that a header can carry.
    pub fn read(&self) -> Result<SecretString, TokenError> {
        let path = match self {
            Self::Env { value, .. } => return Ok(value.clone()),
            Self::File(path) => path,
        };
        let unreadable = |source| TokenError::Unreadable { path: path.clone(), source };
        let file = bounded::open(path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let place = redacted(&format!("the file {}", path.display()));
        // What is not UTF-8 becomes a character that no header may carry, and is refused as such.
        checked(&String::from_utf8_lossy(&bytes), place)
    }

    /// The token of the variable `name`.
    fn from_variable(name: String, environment: &EnvVars) -> Result<Self, TokenError> {
        let Some(value) = environment.get(&name) else {
            return Err(TokenError::Unset(name));
        };
        let value = checked(value, format!("the environment variable {name}"))?;
        Ok(Self::Env { name, value })
    }
}

fn checked(text: &str, place: String) -> Result<SecretString, TokenError> {
    let token = text.trim_end();
    match token {
        "" => Err(TokenError::Empty(place)),
        _ if text.len() > MAX_BYTES => Err(TokenError::TooLong(place)),
        _ if token.starts_with(QUOTES) || token.ends_with(QUOTES) => Err(TokenError::Quoted(place)),
        _ if !token.bytes().all(|byte| byte.is_ascii_graphic()) => Err(TokenError::Invalid(place)),
        _ => Ok(SecretString::from(token)),
    }
}

/// Reads `token_file` and `token_env`, and the token itself, so that a missing one is known at once.
pub(super) fn read(fields: &mut Fields<'_>, environment: &EnvVars) -> Option<TokenSource> {
    let both = fields.is_given("token_file") && fields.is_given("token_env");
    let file = fields.optional("token_file", path);
    let variable = fields.scalar("token_env", variable_name);
    if both {
        fields.fault("token_file", "token_file and token_env exclude each other: give one of them");
        return None;
    }
    if fields.is_given("token_file") {
        let path = file?;
        if let Some(mode) = loose_mode(&path) {
            let reason =
                format!("{} ({mode:04o}) is open to every user of this machine: `chmod 600` closes it", path.display());
            fields.warn("token_file", &reason);
        }
        let source = TokenSource::File(path);
        return source.read().map_err(|error| fields.fault("token_file", error.to_string())).ok().map(|_| source);
    }
    let source = TokenSource::from_variable(variable?, environment);
    source.map_err(|error| fields.fault("token_env", advice(fields, &error))).ok()
}

fn advice(fields: &Fields<'_>, error: &TokenError) -> String {
    if fields.is_given("token_env") {
        return error.to_string();
    }
    format!("{error} (it is the default; token_env names another one, token_file a file)")
}

/// A name that a variable can have; anything else may well be the token itself, and is not repeated.
fn variable_name(value: &::config::Value) -> Result<String, String> {
    let text = name(value)?;
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !text.starts_with("talq_");
    if fits {
        return Ok(text);
    }
    Err("must be the name of an environment variable: letters, digits and underscores (not the token itself)"
        .to_owned())
}

impl PartialEq for TokenSource {
    /// Two sources are equal where they name the same place and hold the same token.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(left), Self::File(right)) => left == right,
            (Self::Env { name: left, value: old }, Self::Env { name: right, value: new }) => {
                left == right && old.expose_secret() == new.expose_secret()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(content: &[u8]) -> (tempfile::NamedTempFile, TokenSource) {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(content).expect("written");
        let source = TokenSource::File(file.path().to_owned());
        (file, source)
    }

    #[test]
    fn a_token_file_is_trimmed_at_its_end_and_read_anew_each_time() {
        let (file, source) = file(b"talq_first \r\n");
        assert_eq!(source.read().expect("a token").expose_secret(), "talq_first");
        std::fs::write(file.path(), "talq_second").expect("written");
        assert_eq!(source.read().expect("a token").expose_secret(), "talq_second");
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_repeated() {
        let long = vec![b'x'; MAX_BYTES + 1];
        for content in
            [&b""[..], b" \n\t", b"talq_a b", b"talq_a\nb", b"talq_\xff", b"talq_\x00", "talq_é".as_bytes(), &long]
        {
            let (_file, source) = file(content);
            let error = source.read().expect_err("refused");
            let text = format!("{error} {error:?}");
            assert!(!text.contains("talq_"), "{text}");
        }
        let (file, source) = file(b"talq_x");
        file.close().expect("removed");
        assert!(matches!(source.read(), Err(TokenError::Unreadable { .. })));
    }

    #[test]
    fn quotes_around_a_token_are_named() {
        for content in ["\"talq_x\"\n", "'talq_x'", "`talq_x`", "\"talq_x", "talq_x'"] {
            let (_file, source) = file(content.as_bytes());
            let error = source.read().expect_err("refused").to_string();
            assert!(error.ends_with(" stands in quotes: leave them off") && !error.contains("talq_"), "{error}");
        }
        let environment = EnvVars::from([("T".to_owned(), "\"talq_x\"".to_owned())]);
        let error = TokenSource::from_variable("T".to_owned(), &environment).expect_err("refused").to_string();
        assert_eq!(error, "the token in the environment variable T stands in quotes: leave them off");
    }

    #[test]
    fn debug_output_does_not_show_the_token() {
        let environment = EnvVars::from([("T".to_owned(), "talq_secret".to_owned())]);
        let source = TokenSource::from_variable("T".to_owned(), &environment).expect("a token");
        assert_eq!(source.read().expect("a token").expose_secret(), "talq_secret");
        assert!(!format!("{source:?}").contains("secret\""), "{source:?}");
        assert!(!format!("{source:?}").contains("talq_"), "{source:?}");
    }
}

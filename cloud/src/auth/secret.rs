//! Secrets that prove who asks. The database holds only their hashes; being 256
//! random bits, they need no slow hash.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

const KEY_PREFIX: &str = "uak_";

fn random() -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    aws_lc_rs::rand::fill(bytes.as_mut_slice()).ok().map(|()| bytes)
}

fn read(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = (text.len() <= 64).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten()?;
    Zeroizing::new(bytes).as_slice().try_into().ok().map(Zeroizing::new)
}

/// The secret in a session cookie.
#[derive(Clone)]
pub struct SessionSecret(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionSecret(…)")
    }
}

impl SessionSecret {
    /// Makes one; `None` when the system gives no randomness.
    #[must_use]
    pub fn generate() -> Option<Self> {
        random().map(Self)
    }

    /// Reads a cookie's value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        read(text).map(Self)
    }

    /// The cookie's value.
    #[must_use]
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.as_slice())
    }

    /// What the database knows of it.
    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        blake3::derive_key("unifyit session v1", self.0.as_slice()).to_vec()
    }

    /// What a page of ours sends with unsafe requests. Another site can make the
    /// browser send the cookie, and cannot read this.
    #[must_use]
    pub fn csrf_token(&self) -> String {
        URL_SAFE_NO_PAD.encode(blake3::derive_key("unifyit csrf v1", self.0.as_slice()))
    }
}

/// An API key: `uak_` and 43 characters.
pub struct ApiKeySecret(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for ApiKeySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiKeySecret(…)")
    }
}

impl ApiKeySecret {
    /// Makes one; `None` when the system gives no randomness.
    #[must_use]
    pub fn generate() -> Option<Self> {
        random().map(Self)
    }

    /// Reads a key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        read(text.strip_prefix(KEY_PREFIX)?).map(Self)
    }

    /// The key as it is shown once.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0.as_slice()))
    }

    /// What the database knows of it.
    #[must_use]
    pub fn hash(&self) -> Vec<u8> {
        blake3::derive_key("unifyit api key v1", self.0.as_slice()).to_vec()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{ApiKeySecret, SessionSecret};

    #[test]
    fn a_secret_survives_its_text_and_tells_nothing_by_its_hash() {
        let session = SessionSecret::generate().unwrap();
        let again = SessionSecret::parse(&session.text()).unwrap();
        assert_eq!(session.hash(), again.hash());
        assert_ne!(session.text(), session.csrf_token());
        let key = ApiKeySecret::generate().unwrap();
        assert!(key.text().starts_with("uak_"));
        assert_eq!(ApiKeySecret::parse(&key.text()).unwrap().hash(), key.hash());
    }

    #[test]
    fn other_text_is_no_secret() {
        for text in ["", "uak_", "uak_short", &"x".repeat(100_000)] {
            assert!(ApiKeySecret::parse(text).is_none());
            assert!(SessionSecret::parse(text).is_none());
        }
    }
}

//! What somebody between a cache and its upstream answers in the upstream's place.

/// One way to answer everything.
#[derive(Debug, Clone)]
pub enum Pose {
    /// A log-in page that calls itself fresh for an hour.
    Page,
    /// The same without saying that it is one.
    Text,
    /// Nothing, and all is well.
    Empty,
    /// A refusal, or another word without a file.
    Status(u16),
    /// The way to somebody else's address.
    Redirect(String),
}

impl Pose {
    /// The answer as it goes over the wire.
    #[must_use]
    pub fn answer(&self) -> String {
        let page = "<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body><a href=\"/login\">Log in to go on</a></body></html>\n";
        let (status, lines, body) = match self {
            Self::Page => (200, "content-type: text/html\r\n".to_owned(), page),
            Self::Text => (200, String::new(), page),
            Self::Empty => (200, "content-type: text/html\r\n".to_owned(), ""),
            Self::Status(status) => (*status, String::new(), ""),
            Self::Redirect(to) => (302, format!("location: {to}\r\n"), ""),
        };
        let length = body.len();
        format!(
            "HTTP/1.1 {status} Posing\r\n{lines}cache-control: max-age=3600\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    }
}

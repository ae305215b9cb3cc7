//! The address of a node, checked before anything is sent to it.

use std::time::Duration;

use url::{Host, Url};

use crate::error::LoadError;

/// After this long without an answer a batch counts as a transport error.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// A checked address of a node.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub(super) url: Url,
    pub(super) http: reqwest::Client,
}

impl Endpoint {
    /// Checks the address. Anything but a loopback address needs `allow_remote`.
    pub fn new(text: &str, allow_remote: bool) -> Result<Self, LoadError> {
        let endpoint_error = |why: String| LoadError::Endpoint {
            url: text.to_owned(),
            why,
        };
        let url = Url::parse(text).map_err(|error| endpoint_error(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "ws") {
            return Err(endpoint_error(format!(
                "scheme {} is not http or ws (no TLS here)",
                url.scheme()
            )));
        }
        let loopback = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => return Err(endpoint_error("it has no host".to_owned())),
        };
        if !loopback && !allow_remote {
            return Err(LoadError::NotLoopback(text.to_owned()));
        }
        // Neither a proxy nor a redirect may carry the load to a host that was not checked.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .timeout(ANSWER_TIMEOUT)
            .build()
            .map_err(|error| LoadError::Transport(error.to_string()))?;
        Ok(Self { url, http })
    }

    /// The address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether it is a WebSocket's, over which a node can tell of new blocks.
    pub fn is_web_socket(&self) -> bool {
        self.url.scheme() == "ws"
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;
    use crate::error::LoadError;

    #[test]
    fn only_loopback_unless_told() {
        for url in [
            "http://127.0.0.1:8545",
            "ws://[::1]:8545",
            "http://localhost:1",
        ] {
            assert!(Endpoint::new(url, false).is_ok(), "{url}");
        }
        for url in [
            "http://192.0.2.1:8545",
            "ws://example.org",
            "http://127.0.0.1.example.org:8545",
        ] {
            assert!(
                matches!(Endpoint::new(url, false), Err(LoadError::NotLoopback(_))),
                "{url}"
            );
            assert!(Endpoint::new(url, true).is_ok(), "{url}");
        }
        assert!(matches!(
            Endpoint::new("ftp://127.0.0.1", true),
            Err(LoadError::Endpoint { .. })
        ));
    }
}

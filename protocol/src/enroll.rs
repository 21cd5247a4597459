//! Enrolment: how a relay joins the cloud and an agent joins its relay.

use crate::{
    config::DeviceConfig,
    grant::{Grant, SiteCertificate},
    ids::{DeviceId, OrganizationId, RelayId, SiteId},
    signing::{PublicKey, Signed},
    token::TokenRefusal,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// libp2p request-response protocol of a relay's enrolment.
pub const RELAY_PROTOCOL: &str = "/unifyit/enroll/1";
/// HTTPS path of an agent's enrolment at its relay (POST, CBOR both ways).
pub const AGENT_PATH: &str = "/enroll/v1";
/// HTTPS path of a certificate's renewal, with the present certificate as the
/// client's (POST, CBOR both ways).
pub const RENEW_PATH: &str = "/enroll/v1/renew";
/// HTTPS path at which a computer that shares its identity with another asks for
/// one of its own, with the shared certificate as the client's (POST, CBOR both
/// ways). It is given where a technician asked for it.
pub const IDENTITY_PATH: &str = "/enroll/v1/identity";

/// A relay asks to join. The peer id of the connection is its identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollRelay {
    /// Text of the install token.
    pub token: String,
    /// Host name of the box.
    pub hostname: String,
    /// Version of the relay.
    pub version: String,
    /// SHA-256 of the site CA's certificate in DER.
    #[serde(with = "serde_bytes")]
    pub ca_fingerprint: [u8; 32],
    /// `host:port` at which agents reach the enrolment HTTPS.
    pub lan_https: Vec<String>,
    /// Argon2id hash of the local UI's PIN, when one was set at enrolment.
    #[serde(default)]
    pub ui_pin_hash: String,
}

/// The cloud's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrollRelayAnswer {
    /// Welcome.
    Accepted(Box<RelayEnrolment>),
    /// The token was refused.
    Refused(TokenRefusal),
    /// Anything else, in a sentence for whoever runs the installer.
    Failed(String),
}

/// What makes a relay one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayEnrolment {
    /// Its id.
    pub relay: RelayId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its site.
    pub site: SiteId,
    /// The organization's authority.
    pub authority: PublicKey,
    /// The right to sign local work.
    pub grant: Signed<Grant>,
    /// The authority's word for the site's CA.
    pub site_certificate: Signed<SiteCertificate>,
}

/// An agent asks to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollAgent {
    /// Text of the install token.
    pub token: String,
    /// PKCS#10 certificate request in DER, self-signed by the agent's key.
    #[serde(with = "serde_bytes")]
    pub csr: Vec<u8>,
    /// Host name.
    pub hostname: String,
    /// Version of the agent.
    pub version: String,
    /// Stable machine identity (hash), so that a reinstalled computer keeps its
    /// device id when the technician allows it. Empty when there is none.
    #[serde(default)]
    pub machine: String,
}

/// The relay's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrollAgentAnswer {
    /// Welcome.
    Accepted(Box<AgentEnrolment>),
    /// The token was refused.
    Refused(TokenRefusal),
    /// Anything else, in a sentence for whoever runs the installer.
    Failed(String),
}

/// What makes an agent one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentEnrolment {
    /// Its id; also the common name of the certificate.
    pub device: DeviceId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its site.
    pub site: SiteId,
    /// The client certificate in DER.
    #[serde(with = "serde_bytes")]
    pub certificate: Vec<u8>,
    /// The site CA's certificate in DER.
    #[serde(with = "serde_bytes")]
    pub ca: Vec<u8>,
    /// The authority's word for that CA; the agent checks it.
    pub site_certificate: Signed<SiteCertificate>,
    /// `host:port` of the MQTT front, in order of preference.
    pub mqtt: Vec<String>,
    /// First settings.
    pub config: DeviceConfig,
}

/// An agent asks for a fresh certificate for the same key or another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewAgent {
    /// PKCS#10 certificate request in DER.
    #[serde(with = "serde_bytes")]
    pub csr: Vec<u8>,
}

/// A computer asks for an identity of its own, after it was told to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnIdentity {
    /// PKCS#10 certificate request in DER, for a new key.
    #[serde(with = "serde_bytes")]
    pub csr: Vec<u8>,
    /// Which of the computers asks: as in [`Hello`](crate::lan::Hello).
    pub instance: Uuid,
    /// Host name.
    pub hostname: String,
    /// Version of the agent.
    pub version: String,
    /// As in [`EnrollAgent`].
    #[serde(default)]
    pub machine: String,
}

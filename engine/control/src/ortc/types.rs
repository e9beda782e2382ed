//! The dictionaries as serde types. Their JSON is camelCase and has the shapes of W3C ORTC as browsers' clients
//! speak them: absent members are left out, unknown members are ignored.
//!
//! Nothing here is checked; that is what [`validate`](super::validate) does.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

impl std::fmt::Display for MediaKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Audio => "audio",
            Self::Video => "video",
        })
    }
}

/// Value of a codec parameter: a number stays a number, everything else is text.
#[derive(Debug, Clone, PartialEq)]
pub enum ParameterValue {
    /// A number.
    Number(f64),
    /// Text.
    Text(String),
}

impl ParameterValue {
    /// The value as a whole number, also from text that spells one.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Number(n) if n.fract() == 0.0 && n.abs() < 9.0e15 => Some(*n as i64),
            Self::Number(_) => None,
            Self::Text(t) => t.trim().parse().ok(),
        }
    }

    /// The value as text, also of a number.
    pub fn to_text(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::Text(t) => t.clone(),
        }
    }
}

impl From<i64> for ParameterValue {
    fn from(value: i64) -> Self {
        Self::Number(value as f64)
    }
}

impl From<&str> for ParameterValue {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl Serialize for ParameterValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self, self.as_integer()) {
            (Self::Text(text), _) => serializer.serialize_str(text),
            // Whole numbers are written without a fraction: some clients compare texts.
            (Self::Number(_), Some(whole)) => serializer.serialize_i64(whole),
            (Self::Number(number), None) => serializer.serialize_f64(*number),
        }
    }
}

impl<'de> Deserialize<'de> for ParameterValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ParameterValue;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number or a string")
            }
            fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
                Ok(ParameterValue::Number(v as f64))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
                Ok(ParameterValue::Number(v as f64))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
                Ok(ParameterValue::Number(v))
            }
            fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
                Ok(ParameterValue::Number(f64::from(u8::from(v))))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(ParameterValue::Text(v.to_owned()))
            }
            // A parameter without a value, as in `a=fmtp:96 foo`.
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(ParameterValue::Text(String::new()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Parameters of an fmtp line.
pub type Parameters = BTreeMap<String, ParameterValue>;

/// One kind of RTCP feedback, such as `nack` with parameter `pli`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtcpFeedback {
    /// `nack`, `ccm`, `transport-cc`, `goog-remb`.
    pub r#type: String,
    /// `pli`, `fir`; empty for none.
    #[serde(default)]
    pub parameter: String,
}

/// A codec that a router or an endpoint is able to use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpCodecCapability {
    /// Audio or video.
    pub kind: MediaKind,
    /// Such as `video/VP8`.
    pub mime_type: String,
    /// Payload type that the owner would like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred_payload_type: Option<u8>,
    /// RTP clock, Hz.
    pub clock_rate: u32,
    /// Audio channels; absent is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// fmtp parameters.
    #[serde(default)]
    pub parameters: Parameters,
    /// RTCP feedback.
    #[serde(default)]
    pub rtcp_feedback: Vec<RtcpFeedback>,
}

/// Direction of a header extension, as its owner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtensionDirection {
    /// Both ways.
    #[default]
    Sendrecv,
    /// Only written.
    Sendonly,
    /// Only read.
    Recvonly,
    /// Neither.
    Inactive,
}

/// A header extension that a router or an endpoint is able to use (RFC 8285).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpHeaderExtension {
    /// Audio or video.
    pub kind: MediaKind,
    /// What it is.
    pub uri: String,
    /// Id that the owner would like.
    pub preferred_id: u8,
    /// Encrypted by RFC 6904.
    #[serde(default)]
    pub preferred_encrypt: bool,
    /// Direction.
    #[serde(default)]
    pub direction: ExtensionDirection,
}

/// What a router or an endpoint is able to use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpCapabilities {
    /// Codecs.
    #[serde(default)]
    pub codecs: Vec<RtpCodecCapability>,
    /// Header extensions.
    #[serde(default)]
    pub header_extensions: Vec<RtpHeaderExtension>,
}

/// A codec in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpCodecParameters {
    /// Such as `video/VP8`.
    pub mime_type: String,
    /// Payload type on the wire.
    pub payload_type: u8,
    /// RTP clock, Hz.
    pub clock_rate: u32,
    /// Audio channels; absent is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// fmtp parameters.
    #[serde(default)]
    pub parameters: Parameters,
    /// RTCP feedback.
    #[serde(default)]
    pub rtcp_feedback: Vec<RtcpFeedback>,
}

/// A header extension in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpHeaderExtensionParameters {
    /// What it is.
    pub uri: String,
    /// Id on the wire.
    pub id: u8,
    /// Encrypted by RFC 6904.
    #[serde(default)]
    pub encrypt: bool,
    /// Its parameters.
    #[serde(default)]
    pub parameters: Parameters,
}

/// The RTX stream of an encoding (RFC 4588).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtpRtxParameters {
    /// Its SSRC.
    pub ssrc: u32,
}

/// The stream that repairs an encoding (ORTC, RTCRtpFecParameters).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RtpFecParameters {
    /// Its SSRC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssrc: Option<u32>,
    /// [`FLEXFEC`].
    pub mechanism: String,
}

/// The only mechanism that has a stream of its own.
pub const FLEXFEC: &str = "flexfec";

/// One encoding.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpEncodingParameters {
    /// SSRC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssrc: Option<u32>,
    /// RID (RFC 8851).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// Codec of this encoding, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec_payload_type: Option<u8>,
    /// Its RTX stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtx: Option<RtpRtxParameters>,
    /// Discontinuous transmission.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dtx: bool,
    /// W3C WebRTC-SVC scalability mode, such as `L3T3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalability_mode: Option<String>,
    /// Bit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bitrate: Option<u32>,
    /// Its FlexFEC stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fec: Option<RtpFecParameters>,
}

/// RTCP of a sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtcpParameters {
    /// Canonical name (RFC 3550, section 6.5.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cname: Option<String>,
    /// Reduced-size RTCP (RFC 5506).
    #[serde(default = "yes")]
    pub reduced_size: bool,
}

impl Default for RtcpParameters {
    fn default() -> Self {
        Self { cname: None, reduced_size: true }
    }
}

fn yes() -> bool {
    true
}

/// What a sender sends, or a receiver is to receive.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RtpParameters {
    /// Media identification (RFC 8843).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mid: Option<String>,
    /// Codecs, RTX included.
    #[serde(default)]
    pub codecs: Vec<RtpCodecParameters>,
    /// Header extensions.
    #[serde(default)]
    pub header_extensions: Vec<RtpHeaderExtensionParameters>,
    /// Encodings.
    #[serde(default)]
    pub encodings: Vec<RtpEncodingParameters>,
    /// RTCP.
    #[serde(default)]
    pub rtcp: RtcpParameters,
    /// Media stream identification (RFC 8830).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msid: Option<String>,
}

/// ICE credentials of our side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IceParameters {
    /// User name fragment.
    pub username_fragment: String,
    /// Password.
    pub password: String,
    /// Always true: libsfu is an ICE-lite agent.
    #[serde(default)]
    pub ice_lite: bool,
}

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// UDP.
    #[default]
    Udp,
    /// TCP.
    Tcp,
}

/// A host candidate of our side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IceCandidate {
    /// Foundation.
    pub foundation: String,
    /// Priority.
    pub priority: u32,
    /// Address or host name; the same as `address`, which older clients do not read.
    pub ip: String,
    /// Address or host name.
    pub address: String,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
    /// Always `host`.
    pub r#type: String,
    /// With TCP: who connects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_type: Option<TcpType>,
}

/// Who connects (RFC 6544, section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TcpType {
    /// The other side does.
    Passive,
}

/// DTLS role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtlsRole {
    /// The remote side is the client.
    #[default]
    Auto,
    /// Client.
    Client,
    /// Server.
    Server,
}

/// Digest of a certificate (RFC 8122).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DtlsFingerprint {
    /// `sha-256`, `sha-384` or `sha-512`.
    pub algorithm: String,
    /// Hexadecimal with colons.
    pub value: String,
}

/// One side's DTLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DtlsParameters {
    /// Role of this side.
    #[serde(default)]
    pub role: DtlsRole,
    /// Digests of this side's certificate.
    pub fingerprints: Vec<DtlsFingerprint>,
}

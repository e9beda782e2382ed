//! The codecs of a room.

use sfu_control::ortc::{MediaKind, ParameterValue, RtpCodecCapability};

fn codec(
    kind: MediaKind,
    mime_type: &str,
    clock_rate: u32,
    parameters: &[(&str, ParameterValue)],
) -> RtpCodecCapability {
    RtpCodecCapability {
        kind,
        mime_type: mime_type.to_owned(),
        preferred_payload_type: None,
        clock_rate,
        channels: (kind == MediaKind::Audio).then_some(2),
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        rtcp_feedback: Vec::new(),
    }
}

fn h264(profile_level_id: &str) -> RtpCodecCapability {
    let parameters = [
        ("packetization-mode", ParameterValue::from(1)),
        ("profile-level-id", ParameterValue::from(profile_level_id)),
        ("level-asymmetry-allowed", ParameterValue::from(1)),
    ];
    codec(MediaKind::Video, "video/H264", 90_000, &parameters)
}

/// What every room offers; a call uses what both of its sides have.
pub(crate) fn of_a_room() -> Vec<RtpCodecCapability> {
    let video = |mime_type| codec(MediaKind::Video, mime_type, 90_000, &[]);
    vec![
        codec(MediaKind::Audio, "audio/opus", 48_000, &[]),
        // For those who ask for it: the page does by its parameter "red".
        codec(MediaKind::Audio, "audio/red", 48_000, &[]),
        video("video/VP8"),
        codec(MediaKind::Video, "video/VP9", 90_000, &[("profile-id", ParameterValue::from(2))]),
        h264("4d0032"),
        h264("42e01f"),
        // What ffmpeg and pion call theirs.
        h264("42001f"),
        video("video/AV1"),
        video("video/H265"),
    ]
}

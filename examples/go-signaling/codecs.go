package main

import "libsfu.example/go/sfu"

func video(mimeType string, parameters sfu.Parameters) sfu.RTPCodecCapability {
	return sfu.RTPCodecCapability{Kind: sfu.Video, MimeType: mimeType, ClockRate: 90000, Parameters: parameters}
}

func h264(profile string) sfu.RTPCodecCapability {
	return video("video/H264", sfu.Parameters{
		"packetization-mode": 1, "profile-level-id": profile, "level-asymmetry-allowed": 1,
	})
}

// roomCodecs is what every room offers; a call uses what both of its sides have.
func roomCodecs() []sfu.RTPCodecCapability {
	return []sfu.RTPCodecCapability{
		{Kind: sfu.Audio, MimeType: "audio/opus", ClockRate: 48000, Channels: 2},
		// For those who ask for it: the page does by its parameter "red".
		{Kind: sfu.Audio, MimeType: "audio/red", ClockRate: 48000, Channels: 2},
		video("video/VP8", nil),
		video("video/VP9", sfu.Parameters{"profile-id": 2}),
		h264("4d0032"),
		h264("42e01f"),
		// What ffmpeg and pion call theirs.
		h264("42001f"),
		video("video/AV1", nil),
		video("video/H265", nil),
	}
}

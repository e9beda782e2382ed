package sfu

import (
	"encoding/json"
	"testing"
	"time"

	"libsfu.example/go/internal/fbs"
)

func TestRTCPIsOfReducedSizeUnlessSaidOtherwise(t *testing.T) {
	for _, one := range []struct {
		given *RTCPParameters
		sent  bool
		json  string
	}{
		{nil, true, ""},
		{&RTCPParameters{CNAME: "x"}, true, `{"cname":"x","reducedSize":true}`},
		{&RTCPParameters{NoReducedSize: true}, false, `{"reducedSize":false}`},
	} {
		sent := must[*fbs.RtpParametersT](t)(rtpTo(RTPParameters{RTCP: one.given}, "rtp_parameters"))
		if sent.Rtcp.ReducedSize != one.sent {
			t.Errorf("%+v: %v", one.given, sent.Rtcp.ReducedSize)
		}
		if one.given == nil {
			continue
		}
		if back := rtpFrom(sent).RTCP; *back != *one.given {
			t.Errorf("%+v came back as %+v", one.given, back)
		}
		text := must[[]byte](t)(json.Marshal(one.given))
		if string(text) != one.json {
			t.Errorf("%+v: %s", one.given, text)
		}
		var read RTCPParameters
		if err := json.Unmarshal(text, &read); err != nil || read != *one.given {
			t.Errorf("%s: %+v %v", text, read, err)
		}
	}
	var read RTCPParameters
	if err := json.Unmarshal([]byte(`{"cname":"x"}`), &read); err != nil || read.NoReducedSize {
		t.Errorf("%+v %v", read, err)
	}
}

func TestPartsOfMillisecondsAreRoundedUp(t *testing.T) {
	for duration, whole := range map[time.Duration]uint32{
		-time.Second: 0, 0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, time.Minute: 60_000, 1<<63 - 1: 1<<32 - 1,
	} {
		if got := milliseconds(duration); got != whole {
			t.Errorf("%s: %d", duration, got)
		}
	}
}

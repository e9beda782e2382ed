// A pion publisher by WHIP or watcher by WHEP: pion publish|watch URL. And a reader: pion rtpdump FILE prints what is in it.
//
// The publisher sends VP8 from an IVF file and Opus from an Ogg file that PEER_MEDIA names (video.ivf, audio.ogg). The
// watcher counts packets and the frames that they end. A line of JSON tells of it twice a second. It ends, with a DELETE,
// when its standard input closes.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
	"github.com/pion/webrtc/v4/pkg/media/oggreader"
)

type kind struct {
	Frames  int `json:"frames"`
	Packets int `json:"packets"`
}

type report struct {
	mu    sync.Mutex
	State string `json:"state"`
	Audio *kind  `json:"audio,omitempty"`
	Video *kind  `json:"video,omitempty"`
}

func (r *report) count(of **kind, frame bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if *of == nil {
		*of = &kind{}
	}
	(*of).Packets++
	if frame {
		(*of).Frames++
	}
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("give publish or watch, and a URL; or rtpdump, and a file")
	}
	if args[0] == "rtpdump" {
		return readDump(args[1], os.Stdout)
	}
	connection, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	defer connection.Close()
	told := &report{}
	connected := make(chan struct{})
	var once sync.Once
	connection.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		told.mu.Lock()
		told.State = state.String()
		told.mu.Unlock()
		if state == webrtc.PeerConnectionStateConnected {
			once.Do(func() { close(connected) })
		}
	})
	if args[0] == "publish" {
		err = publish(connection, connected)
	} else {
		err = watch(connection, told)
	}
	if err != nil {
		return err
	}
	resource, err := exchange(connection, args[1])
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	for tick := time.NewTicker(500 * time.Millisecond); ; {
		select {
		case <-tick.C:
			told.mu.Lock()
			line, err := json.Marshal(told)
			told.mu.Unlock()
			if err != nil {
				return err
			}
			fmt.Println(string(line))
		case <-ended:
			return remove(resource)
		}
	}
}

func exchange(connection *webrtc.PeerConnection, address string) (string, error) {
	offer, err := connection.CreateOffer(nil)
	if err != nil {
		return "", err
	}
	gathered := webrtc.GatheringCompletePromise(connection)
	if err := connection.SetLocalDescription(offer); err != nil {
		return "", err
	}
	<-gathered
	response, err := http.Post(address, "application/sdp", strings.NewReader(connection.LocalDescription().SDP))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusCreated {
		return "", fmt.Errorf("%s: %s", response.Status, text)
	}
	base, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	location, err := base.Parse(response.Header.Get("Location"))
	if err != nil {
		return "", err
	}
	answer := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: string(text)}
	return location.String(), connection.SetRemoteDescription(answer)
}

func remove(resource string) error {
	request, err := http.NewRequest(http.MethodDelete, resource, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("DELETE: %s", response.Status)
	}
	return nil
}

func watch(connection *webrtc.PeerConnection, told *report) error {
	direction := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
	for _, of := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeAudio, webrtc.RTPCodecTypeVideo} {
		if _, err := connection.AddTransceiverFromKind(of, direction); err != nil {
			return err
		}
	}
	connection.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		of := &told.Audio
		if track.Kind() == webrtc.RTPCodecTypeVideo {
			of = &told.Video
		}
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			// Each Opus packet is a frame; the marker ends one of video.
			told.count(of, packet.Marker || track.Kind() == webrtc.RTPCodecTypeAudio)
		}
	})
	return nil
}

func publish(connection *webrtc.PeerConnection, connected <-chan struct{}) error {
	folder := os.Getenv("PEER_MEDIA")
	add := func(mime, name string, send func(*webrtc.TrackLocalStaticSample, string) error, file string) error {
		track, err := webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: mime}, name, "pion")
		if err != nil {
			return err
		}
		sender, err := connection.AddTrack(track)
		if err != nil {
			return err
		}
		// Reading lets pion answer NACKs.
		go func() {
			for {
				if _, _, err := sender.ReadRTCP(); err != nil {
					return
				}
			}
		}()
		go func() {
			<-connected
			for {
				if err := send(track, filepath.Join(folder, file)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
			}
		}()
		return nil
	}
	if err := add(webrtc.MimeTypeVP8, "video", sendVideo, "video.ivf"); err != nil {
		return err
	}
	return add(webrtc.MimeTypeOpus, "audio", sendAudio, "audio.ogg")
}

func sendVideo(track *webrtc.TrackLocalStaticSample, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader, header, err := ivfreader.NewWith(file)
	if err != nil {
		return err
	}
	length := time.Second * time.Duration(header.TimebaseNumerator) / time.Duration(header.TimebaseDenominator)
	for ticker := time.NewTicker(length); ; <-ticker.C {
		frame, _, err := reader.ParseNextFrame()
		if errors.Is(err, io.EOF) {
			ticker.Stop()
			return nil
		}
		if err != nil {
			return err
		}
		if err := track.WriteSample(media.Sample{Data: frame, Duration: length}); err != nil {
			return err
		}
	}
}

func sendAudio(track *webrtc.TrackLocalStaticSample, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader, _, err := oggreader.NewWith(file)
	if err != nil {
		return err
	}
	const length = 20 * time.Millisecond
	for ticker := time.NewTicker(length); ; <-ticker.C {
		page, _, err := reader.ParseNextPage()
		if errors.Is(err, io.EOF) {
			ticker.Stop()
			return nil
		}
		if err != nil {
			return err
		}
		// The first two pages are headers, which no decoder minds.
		if err := track.WriteSample(media.Sample{Data: page, Duration: length}); err != nil {
			return err
		}
	}
}

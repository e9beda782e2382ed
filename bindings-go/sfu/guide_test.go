package sfu_test

import (
	"os"
	"strings"
	"testing"
)

// TestTheGuideShowsWhatTheExamplesRun: every piece of Go in README.md stands, line by line, in example_test.go.
func TestTheGuideShowsWhatTheExamplesRun(t *testing.T) {
	read := func(name string) []string {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(text), "\n")
	}
	var shown strings.Builder
	for _, line := range read("example_test.go") {
		if line = strings.TrimSpace(line); line != "" {
			shown.WriteString(line + "\n")
		}
	}
	blocks, block := 0, ""
	for _, line := range append(read("../README.md"), "end") {
		switch {
		case strings.HasPrefix(line, "    "):
			block += strings.TrimSpace(line) + "\n"
		case strings.TrimSpace(line) == "":
		default:
			if strings.Contains(block, "sfu.") && strings.Contains(block, ":= ") || strings.Contains(block, "func(") {
				blocks++
				if !strings.Contains(shown.String(), block) {
					t.Errorf("no example runs this:\n%s", block)
				}
				if lines := strings.Count(block, "\n"); lines > 30 {
					t.Errorf("%d lines are no first call", lines)
				}
			}
			block = ""
		}
	}
	if blocks < 3 {
		t.Errorf("%d pieces were found", blocks)
	}
}

package sfu_test

import (
	"os"
	"strings"
	"testing"
)

// TestTheGuidesShowWhatTheExamplesRun: every piece of Go in the guide, and the first call in the README of the repository,
// stand, line by line, in example_test.go.
func TestTheGuidesShowWhatTheExamplesRun(t *testing.T) {
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
	for name, least := range map[string]int{"../README.md": 3, "../../README.md": 1} {
		if found := pieces(t, append(read(name), "end"), shown.String()); found < least {
			t.Errorf("%s: %d pieces were found", name, found)
		}
	}
}

// pieces tells how many pieces of Go there are, and fails for those that are not shown elsewhere.
func pieces(t *testing.T, lines []string, shown string) int {
	blocks, block := 0, ""
	for _, line := range lines {
		switch {
		case strings.HasPrefix(line, "    "):
			block += strings.TrimSpace(line) + "\n"
		case strings.TrimSpace(line) == "":
		default:
			if strings.Contains(block, "sfu.") && strings.Contains(block, ":= ") || strings.Contains(block, "func(") {
				blocks++
				if !strings.Contains(shown, block) {
					t.Errorf("no example runs this:\n%s", block)
				}
				if lines := strings.Count(block, "\n"); lines > 30 {
					t.Errorf("%d lines are no first call", lines)
				}
			}
			block = ""
		}
	}
	return blocks
}

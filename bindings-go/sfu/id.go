package sfu

import (
	"fmt"
	"strconv"
)

// ID names an object of an engine: a router, a transport, a producer and so on. An ID never names a second object, not
// even after the first one was closed. Its text, and its JSON, is 16 hexadecimal digits: 64 bits do not fit a number of
// JavaScript.
type ID uint64

// String is the ID's 16 hexadecimal digits.
func (id ID) String() string { return fmt.Sprintf("%016x", uint64(id)) }

// Shard is the number of the shard that the object lives on. Objects that belong together share it.
func (id ID) Shard() int { return int(id >> 56) }

// MarshalText writes the 16 hexadecimal digits.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads 16 hexadecimal digits.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// ParseID reads an ID's text.
func ParseID(text string) (ID, error) {
	if len(text) == 16 && text[0] != '+' && text[0] != '-' {
		if number, err := strconv.ParseUint(text, 16, 64); err == nil {
			return ID(number), nil
		}
	}
	if len(text) > 40 {
		text = text[:40] + "..."
	}
	return 0, &Error{Code: ErrInvalidArgument, Field: "id", Message: fmt.Sprintf("%q is no id; give 16 hexadecimal digits", text)}
}

func ids(numbers []uint64) []ID {
	out := make([]ID, len(numbers))
	for at, number := range numbers {
		out[at] = ID(number)
	}
	return out
}

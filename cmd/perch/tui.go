package main

// This file is how perch talks. The rules:
//
//   - Data goes to standard output, and nothing else does.
//   - Everything else goes to standard error, each line with "perch: " before it, in lower case and
//     without a period at the end. What went wrong is one line, and what to do about it a hint below.
//   - Text from the network never reaches a terminal unescaped (api.Text).
//   - A picture is never written to a terminal as bytes.

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/perchcam/perch/internal/edits"
	"github.com/perchcam/perch/pkg/api"
	"github.com/perchcam/perch/pkg/client"
)

// ui writes to a person and to the next program.
type ui struct {
	stdout, stderr io.Writer
	quiet          bool
	command        string  // that is run, as it was typed
	anonymous      bool    // it shows no token to a broker that others can reach
	screen         *screen // a text that is kept at the end of the terminal; nil: none is
}

// say tells a person something.
func (u *ui) say(format string, args ...any) {
	line := fmt.Sprintf("perch: "+format+"\n", args...)
	switch {
	case u.quiet:
	case u.screen != nil && terminal(u.stderr):
		u.screen.say(line)
	default:
		_, _ = io.WriteString(u.stderr, line)
	}
}

// json writes an answer for a program.
func (u *ui) json(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = u.stdout.Write(append(escape(b), '\n'))
	return err
}

// jsonLine writes one of several answers for a program.
func (u *ui) jsonLine(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = u.stdout.Write(append(escape(b), '\n'))
	return err
}

// escape leaves nothing in JSON that does more in a terminal than being seen: encoding/json escapes the controls of ASCII only,
// and what is left of the others can only be inside of strings.
func escape(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for _, c := range string(b) {
		switch {
		case c == '\n' || strconv.IsPrint(c):
			out = utf8.AppendRune(out, c)
		case c <= 0xFFFF:
			out = fmt.Appendf(out, `\u%04x`, c)
		default:
			hi, lo := utf16.EncodeRune(c)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		}
	}
	return out
}

// usageError is a mistake in what was typed.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

// hintedError is an error with advice.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

func hinted(err error, hint string) error { return &hintedError{err, hint} }

// errInterrupted is how a command ends that Ctrl-C has ended.
var errInterrupted = errors.New("interrupted")

// Exit codes, as the help text has them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNoDevice    = 3
	exitTimeout     = 4
	exitUnreachable = 5
	exitRefused     = 6
	exitInterrupted = 130
)

// report tells a person of an error and returns the exit code.
func (u *ui) report(ctx context.Context, err error) int {
	if err == nil {
		return exitOK
	}
	code, hint := judge(err)
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))) {
		code, hint, err = exitInterrupted, "", errInterrupted
	}
	switch e, ok := errors.AsType[*hintedError](err); {
	case ok:
		hint = e.hint
	case hint != "":
	case code == exitUsage && u.command != "":
		hint = "see " + u.command + " --help"
	case code == exitRefused && u.anonymous:
		hint = "perch login saves a token, which perch-broker add makes"
	}
	fmt.Fprintf(u.stderr, "perch: %v\n", err)
	if hint != "" {
		fmt.Fprintf(u.stderr, "perch: hint: %s\n", hint)
	}
	return code
}

// judge returns an error's exit code, and advice where there is any.
func judge(err error) (code int, hint string) {
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage, ""
	}
	if e, ok := errors.AsType[*someError](err); ok {
		return e.code, ""
	}
	if errors.Is(err, fs.ErrExist) {
		return exitFailed, "--force overwrites"
	}
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		return exitFailed, ""
	}
	switch e.Kind {
	case client.ErrUnreachable:
		return exitUnreachable, unreachable(err)
	case client.ErrRefused:
		if strings.HasPrefix(e.Text, api.NotPermitted) {
			return exitRefused, "perch-broker add makes credentials of another role"
		}
		return exitRefused, ""
	case client.ErrNoDevice:
		if e.Device == "" {
			return exitNoDevice, "perch devices lists what there is"
		}
		return exitNoDevice, known(e.Device, e.Known)
	case client.ErrAway:
		return exitNoDevice, "it may come back by itself: --wait 1m waits for it"
	case client.ErrTimeout:
		return exitTimeout, "--timeout 30s waits longer"
	case client.ErrInvalid:
		return exitUsage, ""
	}
	return exitFailed, ""
}

// unreachable says what to do where there is no session with the broker.
func unreachable(err error) string {
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	_, unnamed := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(err, client.ErrPin):
		return "if its key was made anew, perch login with the line that perch-broker add prints saves the new pin"
	case untrusted:
		return "--pin with what perch-broker prints says which key is right, --ca with a file who signs it"
	case unnamed:
		return "is the name right? --broker or PERCH_BROKER gives it"
	}
	return "is perch-broker running there? --broker or PERCH_BROKER says where to look"
}

// known says which devices there are instead, the most alike first.
func known(asked string, names []string) string {
	if len(names) == 0 {
		return "no device is connected to the broker"
	}
	best, distance := "", len(asked)/2+1
	for _, name := range names {
		if d := edits.Between(asked, name); d < distance {
			best, distance = name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	const few = 8
	if len(names) > few {
		return fmt.Sprintf("there are %d devices: perch devices lists them", len(names))
	}
	return "there is: " + strings.Join(names, ", ")
}

// count writes a number of things, whose plural has an s.
func count[N int | uint32 | uint64](n N, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// areMissing says how many are.
func areMissing(n uint64, thing string) string {
	if n == 1 {
		return count(n, thing) + " is missing"
	}
	return count(n, thing) + " are missing"
}

// size writes a number of bytes for a person.
func size(n int64) string {
	const kB = 1000
	v, units := float64(n), []string{"B", "kB", "MB", "GB", "TB"}
	for v >= kB && len(units) > 1 {
		v, units = v/kB, units[1:]
	}
	if n < kB {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[0])
}

// ago writes a time span with one unit, such as 3m or 2d.
func ago(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// terminal reports whether w is a terminal.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

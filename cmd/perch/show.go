package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"strings"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/ansi/iterm2"
	"github.com/charmbracelet/x/ansi/kitty"
	"github.com/charmbracelet/x/ansi/sixel"
	"golang.org/x/image/draw"
)

// protocol is a way in which terminals take pictures, as a flag. "" is auto.
type protocol string

const (
	showKitty  protocol = "kitty"
	showITerm2 protocol = "iterm2"
	showSixel  protocol = "sixel"
	noPictures protocol = "none"
)

func (p *protocol) Type() string   { return "HOW" }
func (p *protocol) String() string { return string(*p) }

func (p *protocol) Set(s string) error {
	switch v := protocol(s); v {
	case "auto":
		*p = ""
	case showKitty, showITerm2, showSixel:
		*p = v
	default:
		return errors.New("it must be auto, kitty, iterm2 or sixel")
	}
	return nil
}

// choose returns what to show a picture with. Which terminal it is its variables tell; inside tmux or screen, which pass
// nothing through unless they are told to, and where it is not known, nothing is shown that was not asked for.
func (p protocol) choose(getenv func(string) string, tty bool) protocol {
	term, program := getenv("TERM"), getenv("TERM_PROGRAM")
	switch {
	case p != "":
		return p
	case !tty, getenv("TMUX") != "", strings.HasPrefix(term, "screen"), strings.HasPrefix(term, "tmux"):
		return noPictures
	case getenv("KITTY_WINDOW_ID") != "", term == "xterm-kitty", term == "xterm-ghostty", program == "ghostty":
		return showKitty
	case program == "iTerm.app", program == "WezTerm", program == "mintty":
		return showITerm2
	case strings.HasPrefix(term, "foot"), strings.HasPrefix(term, "mlterm"), strings.Contains(term, "sixel"):
		return showSixel
	}
	return noPictures
}

// Limits of a picture that is shown. A JPEG of a few bytes can claim any size, and decoding it takes memory for all of it.
const (
	maxShown = 64 << 20 // pixels that are decoded
	fitShown = 960      // pixels of the longer side that are given to the terminal
)

// show gives a picture to a terminal. It is decoded and scaled here: no byte of it reaches the terminal as it came.
func show(w io.Writer, p protocol, data []byte) error {
	cfg, err := jpeg.DecodeConfig(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("the picture cannot be shown: %w", err)
	}
	if cfg.Width*cfg.Height > maxShown {
		return fmt.Errorf("the picture cannot be shown: it has %d x %d pixels, more than %d million", cfg.Width, cfg.Height, maxShown>>20)
	}
	// A block of 8 x 8 takes a bit at least: what has fewer is not all there, and would take memory for all of it.
	if cfg.Width*cfg.Height > 512*len(data) {
		return fmt.Errorf("the picture cannot be shown: %d bytes are too few for the %d x %d pixels that it says it has", len(data), cfg.Width, cfg.Height)
	}
	img, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("the picture cannot be shown: %w", err)
	}
	out, err := encodeFor(p, fit(img))
	if err != nil {
		return fmt.Errorf("the picture cannot be shown: %w", err)
	}
	_, err = io.WriteString(w, out+"\n")
	return err
}

// fit scales a picture down to fitShown.
func fit(img image.Image) image.Image {
	size := img.Bounds().Size()
	if long := max(size.X, size.Y); long > fitShown {
		size = image.Pt(max(1, size.X*fitShown/long), max(1, size.Y*fitShown/long))
	}
	out := image.NewRGBA(image.Rectangle{Max: size})
	draw.ApproxBiLinear.Scale(out, out.Bounds(), img, img.Bounds(), draw.Src, nil)
	return out
}

func encodeFor(p protocol, img image.Image) (string, error) {
	var b bytes.Buffer
	if p == showSixel {
		err := (&sixel.Encoder{}).Encode(&b, img)
		return ansi.SixelGraphics(0, 1, 0, b.Bytes()), err
	}
	if err := png.Encode(&b, img); err != nil {
		return "", err
	}
	text := base64.StdEncoding.EncodeToString(b.Bytes())
	if p == showITerm2 {
		return ansi.ITerm2(iterm2.File{Inline: true, Size: int64(b.Len()), Content: []byte(text)}), nil
	}
	var out strings.Builder
	options := fmt.Sprintf("a=%c,f=%d,q=2,", kitty.TransmitAndPut, kitty.PNG) // q=2: the terminal answers nothing
	for rest := text; rest != ""; options = "" {
		n := min(len(rest), kitty.MaxChunkSize)
		more := 0
		if n < len(rest) {
			more = 1
		}
		out.WriteString(ansi.KittyGraphics([]byte(rest[:n]), fmt.Sprintf("%sm=%d", options, more)))
		rest = rest[n:]
	}
	return out.String(), nil
}

package main

import (
	"fmt"
	"html"
	"os"
	"os/exec"
	"runtime"
)

// openBrowser opens an address in the person's browser. Everybody on a machine can read the arguments of its programs, so the
// browser is given a file that only this person can read, and that leads on to the address; forget removes it.
func openBrowser(address string) (forget func(), err error) {
	f, err := os.CreateTemp("", "perch-view-*.html") // mode 0600
	if err != nil {
		return func() {}, err
	}
	forget = func() { _ = os.Remove(f.Name()) }
	_, err = fmt.Fprintf(f, "<!doctype html><meta charset=utf-8><title>Perch</title><meta http-equiv=refresh content=\"0;url=%s\">\n", html.EscapeString(address))
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return forget, err
	}
	args := []string{"xdg-open", f.Name()}
	switch runtime.GOOS {
	case "darwin":
		args = []string{"open", f.Name()}
	case "windows":
		args = []string{"rundll32", "url.dll,FileProtocolHandler", f.Name()}
	}
	cmd := exec.Command(args[0], args[1:]...)
	if err := cmd.Start(); err != nil {
		return forget, err
	}
	go func() { _ = cmd.Wait() }()
	return forget, nil
}

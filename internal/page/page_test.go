package page

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	h, err := New(Broker, `/rsocket"><script>`)
	if err != nil {
		t.Fatal(err)
	}
	get := func(method, path string, header ...string) *http.Response {
		t.Helper()
		r := httptest.NewRequest(method, path, nil)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result()
	}
	text := func(r *http.Response) string {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/page.js": "text/javascript; charset=utf-8", "/page.css": "text/css; charset=utf-8",
		"/icon.svg": "image/svg+xml", "/licences.txt": "text/plain; charset=utf-8",
	} {
		r := get("GET", path)
		if body := text(r); r.StatusCode != 200 || r.Header.Get("Content-Type") != kind || body == "" {
			t.Errorf("%s: %s, %s, %d bytes", path, r.Status, r.Header.Get("Content-Type"), len(body))
		}
		tag := r.Header.Get("ETag")
		if r := get("GET", path, "If-None-Match", tag); r.StatusCode != 304 || text(r) != "" {
			t.Errorf("%s again: %s", path, r.Status)
		}
		if r := get("HEAD", path); r.StatusCode != 200 || text(r) != "" {
			t.Errorf("HEAD %s: %s", path, r.Status)
		}
		if r := get("POST", path); r.StatusCode != 405 {
			t.Errorf("POST %s: %s", path, r.Status)
		}
	}
	for _, path := range []string{"/index.html", "/nothing", "/../page.go", "//", "/dist/page.js"} {
		if r := get("GET", path); r.StatusCode != 404 {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	for _, path := range []string{"/", "/nothing"} {
		for name, want := range headers {
			if got := get("GET", path).Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
	}

	index := text(get("GET", "/"))
	if !strings.Contains(index, `data-socket="/rsocket&#34;&gt;&lt;script&gt;" data-mode="broker"`) || strings.Contains(index, "{{") {
		t.Errorf("the page is not told where it is:\n%s", index)
	}
	small := get("GET", "/page.js", "Accept-Encoding", "br, gzip")
	z, err := gzip.NewReader(small.Body)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(z)
	if err != nil || string(unpacked) != text(get("GET", "/page.js")) || small.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("compressed it is another script: %d bytes, %v", len(unpacked), err)
	}
}

// TestNothingInline: the policy would stop it, and then the page would not work.
func TestNothingInline(t *testing.T) {
	index, err := dist.ReadFile("dist/index.html")
	if err != nil {
		t.Fatal(err)
	}
	if m := regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]|<style|\son[a-z]+=|style=|https?:`).Find(index); m != nil {
		t.Errorf("index.html has %q", m)
	}
	for _, name := range []string{"dist/page.js", "dist/page.css"} {
		data, err := dist.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write\(|\beval\(|new Function|url\(|@import|sourceMappingURL`).Find(data); m != nil {
			t.Errorf("%s has %q", name, m)
		}
	}
}

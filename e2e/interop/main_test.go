//go:build interop

package interop

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var tablePath = flag.String("table", "", "put the table of what was run into this document")

func TestMain(m *testing.M) {
	flag.Parse()
	if *tablePath != "" { // everything is run: fetch for Java, one after the other, while rsocket-js is tested
		go func() {
			for _, j := range []*Java{javaPeer, springBroker, alibabaBroker} {
				_ = j.Prepare() // whoever needs it is told
			}
		}()
	}
	code := m.Run()
	fmt.Print(table.String())
	if *tablePath != "" {
		if err := table.Write(*tablePath); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

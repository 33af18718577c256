package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/perchcam/perch/internal/agent"
	"github.com/perchcam/perch/pkg/gpio"
	"github.com/perchcam/perch/pkg/gpio/host"
)

// safeState puts the outputs into their safe state. The unit runs it whenever the agent has ended: an agent that was told to has done so
// itself, one that was killed could not.
func safeState(stderr io.Writer) int {
	// By hand, and not by a service manager, which has read the settings: systemd sets this for ExecStopPost= alone
	// (systemd.exec(5)).
	if os.Getenv("SERVICE_RESULT") == "" {
		if err := serviceSettings(); err != nil {
			fmt.Fprintf(stderr, "perch-agent: %v\n", err)
			return exitFailed
		}
	}
	outputs, err := agent.LoadOutputs()
	if err != nil {
		return wrong(stderr, err)
	}
	if len(outputs) == 0 {
		return exitOK
	}
	machine, err := host.Init()
	if err == nil {
		err = gpio.SafeState(machine, outputs)
	}
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(stderr, "perch-agent: %s\n", line)
		}
		return exitFailed
	}
	return exitOK
}

package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/internal/page"
	"github.com/perchcam/perch/pkg/client"
)

func (a *app) view() *cobra.Command {
	var listen string
	var browse bool
	cmd := &cobra.Command{
		Use:   "view [DEVICE]",
		Short: "Show all cameras and sensors on a page in your browser",
		Long: `Show all cameras and sensors on a page in your browser, live, until Ctrl-C.

The page is served to this machine only. Its address is printed, and lets one browser in; then the next one is printed, for
another. The page never holds your token: its requests go through this program, over its own connection to the broker.

  arrows, Enter, Esc   from camera to camera, one large, and back
  ?                    all keys`,
		Example: `  perch view
  perch view hen-house --open`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return deviceArg(nil, args)
		},
		ValidArgsFunction: a.completeDevice,
		RunE: func(cmd *cobra.Command, args []string) error {
			at := ""
			if len(args) > 0 {
				at = args[0]
			}
			return a.serveView(cmd.Context(), listen, at, browse)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:0", "`ADDRESS` of this machine to serve the page on")
	f.BoolVar(&browse, "open", false, "open it in the browser")
	return cmd
}

// serveView serves the page until ctx ends. device is the one it begins with; "" is all.
func (a *app) serveView(ctx context.Context, listen, device string, browse bool) error {
	log := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	return a.with(ctx, func(c *client.Client) error {
		relay, err := page.NewRelay(c, log)
		if err != nil {
			return err
		}
		defer relay.Close()
		var local *page.Local
		local, err = page.NewLocal(listen, page.LocalConfig{
			Serve: relay.Serve,
			Entered: func() {
				a.say("a browser is in; for another one:")
				fmt.Fprintln(a.stdout, local.Link(device))
			},
			Log: log,
		})
		if err != nil {
			return &usageError{err}
		}
		link := local.Link(device)
		a.say("open this in a browser on this machine; Ctrl-C ends it:")
		fmt.Fprintln(a.stdout, link)
		if browse {
			forget, err := openBrowser(link)
			if err != nil {
				a.say("cannot open a browser: %v", err)
			}
			defer forget()
		}
		return local.Run(ctx)
	})
}

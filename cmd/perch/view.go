package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/perchcam/perch/internal/page"
	"github.com/perchcam/perch/pkg/client"
)

func (a *app) view() *cobra.Command {
	var listen string
	var browse bool
	cmd := &cobra.Command{
		Use:   "view",
		Short: "Show all cameras and sensors on a page in your browser",
		Long: `Show all cameras and sensors on a page in your browser, live, until Ctrl-C.

The page is served to this machine only. The address that is printed lets one browser in, once; then the next address is
printed. The page never holds your token: its requests go through this program, over its own connection to the broker.

  arrows, Enter, Esc   from camera to camera, one large, and back
  ?                    all keys`,
		Example: `  perch view
  perch view --open`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serveView(cmd.Context(), listen, browse) },
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:0", "`ADDRESS` of this machine to serve the page on")
	f.BoolVar(&browse, "open", false, "open it in the browser")
	return cmd
}

// serveView serves the page until ctx ends.
func (a *app) serveView(ctx context.Context, listen string, browse bool) error {
	log := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	return a.with(ctx, func(c *client.Client) error {
		relay, err := page.NewRelay(c, log)
		if err != nil {
			return err
		}
		defer relay.Close()
		var local *page.Local
		local, err = page.NewLocal(listen, page.LocalConfig{
			Serve:   relay.Serve,
			Entered: func() { a.say("a browser is in; for another one: %s", local.Link()) },
			Log:     log,
		})
		if err != nil {
			return &usageError{err}
		}
		link := local.Link()
		a.say("the page is at %s", link)
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

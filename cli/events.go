package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
)

func newEvents(a *App) *cobra.Command {
	var o client.EventsOptions
	var format string
	filters := newFilters()
	cmd := &cobra.Command{
		Use:                   "events [OPTIONS]",
		Short:                 "Print what happens in the engine, as it happens",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "system events, events"},
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Filters = filters.values
			return printEvents(cmd.Context(), a, format, o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Since, "since", "", "Begin with the events since this time")
	f.StringVar(&o.Until, "until", "", "End at this time")
	f.VarP(filters, "filter", "f", "Print only what matches (name=value)")
	f.StringVar(&format, "format", "", inspectFormatHelp)
	return cmd
}

func printEvents(ctx context.Context, a *App, format string, o client.EventsOptions) error {
	t, err := eventTemplate(format)
	if err != nil {
		return &exitError{code: 64, text: "Error parsing format: " + err.Error()}
	}
	for _, s := range []*string{&o.Since, &o.Until} {
		if *s != "" {
			if *s, err = unixTime(*s, time.Now()); err != nil {
				return err
			}
		}
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	return c.System().Events(ctx, o, func(e api.Event) error {
		var line bytes.Buffer
		if t == nil {
			writeEvent(&line, e)
		} else if err := t.Execute(&line, e); err != nil {
			return err
		}
		line.WriteByte('\n')
		_, err := a.Out.Write(line.Bytes())
		return err
	})
}

// eventTemplate makes the template of a format, nil for none, and tries it.
func eventTemplate(format string) (*template.Template, error) {
	switch format {
	case "":
		return nil, nil
	case "json":
		format = "{{json .}}"
	}
	t, err := parseTemplate("", format)
	if err != nil {
		return nil, unwrapOnce(err)
	}
	return t, t.Execute(io.Discard, &api.Event{})
}

// writeEvent prints: time type action id (attribute=value, …).
func writeEvent(w *bytes.Buffer, e api.Event) {
	at := time.Unix(e.Time, 0)
	if e.TimeNano != 0 {
		at = time.Unix(0, e.TimeNano)
	}
	if e.Time != 0 || e.TimeNano != 0 {
		w.WriteString(at.Format("2006-01-02T15:04:05.000000000Z07:00 "))
	}
	fmt.Fprintf(w, "%s %s %s", e.Type, e.Action, e.Actor.ID)
	if len(e.Actor.Attributes) == 0 {
		return
	}
	list := make([]string, 0, len(e.Actor.Attributes))
	for k := range e.Actor.Attributes {
		list = append(list, k)
	}
	slices.Sort(list)
	for i, k := range list {
		list[i] = k + "=" + e.Actor.Attributes[k]
	}
	fmt.Fprintf(w, " (%s)", strings.Join(list, ", "))
}

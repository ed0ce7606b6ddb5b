package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"lighter/api"
)

func newHistory(a *App) *cobra.Command {
	var human, quiet, noTrunc bool
	var format, platform string
	cmd := &cobra.Command{
		Use:                   "history [OPTIONS] IMAGE",
		Short:                 "Print the steps that made an image",
		Args:                  exactly(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "image history, history"},
		ValidArgsFunction:     a.completeImages(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := somePlatform(platform)
			if err != nil {
				return err
			}
			c, err := a.Client()
			if err != nil {
				return err
			}
			steps, err := c.Images().History(cmd.Context(), args[0], p)
			if err != nil {
				return err
			}
			l := listing{format: historyFormat(format, quiet, human), headers: historyHeaders, window: windowOf(a, format, noTrunc)}
			now := time.Now()
			return l.write(a.Out, len(steps), func(n int) any {
				return &historyRow{h: &steps[n], short: !noTrunc, human: human, now: now}
			})
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&human, "human", "H", true, "Print sizes and times as people speak of them")
	f.BoolVarP(&quiet, "quiet", "q", false, "Print ids alone")
	f.BoolVar(&noTrunc, "no-trunc", false, "Cut nothing short")
	f.StringVar(&format, "format", "", formatHelp)
	f.StringVar(&platform, "platform", "", "Refuse an image for another platform than os[/arch[/variant]]")
	return cmd
}

func historyFormat(format string, quiet, human bool) string {
	switch {
	case format != "" && format != "table":
		return format
	case quiet:
		return "{{.ID}}"
	case !human:
		return "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
	}
	return "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
}

var historyHeaders = map[string]string{
	"ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT",
}

// historyRow is a row of history; its methods are the placeholders.
type historyRow struct {
	h            *api.ImageHistory
	short, human bool
	now          time.Time
}

func (r *historyRow) row() {}

// ID is the id of the image that the step made, short unless --no-trunc.
func (r *historyRow) ID() string {
	if r.short {
		return shortID(r.h.ID)
	}
	return r.h.ID
}

// CreatedAt is when the step was done.
func (r *historyRow) CreatedAt() string { return time.Unix(r.h.Created, 0).Format(time.RFC3339) }

// CreatedSince is how long ago it was done, with --human=false when.
func (r *historyRow) CreatedSince() string {
	if !r.human {
		return r.CreatedAt()
	}
	if r.h.Created <= time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Unix() { // an image made to be reproducible
		return "N/A"
	}
	return units.HumanDuration(r.now.Sub(time.Unix(r.h.Created, 0))) + " ago"
}

// CreatedBy is the command of the step, cut unless --no-trunc.
func (r *historyRow) CreatedBy() string {
	by := strings.ReplaceAll(r.h.CreatedBy, "\t", " ")
	if r.short {
		return ellipsis(by, 45)
	}
	return by
}

// Size is the size of the step's layer, with --human=false in bytes.
func (r *historyRow) Size() string {
	if r.human {
		return units.HumanSizeWithPrecision(float64(r.h.Size), 3)
	}
	return strconv.FormatInt(r.h.Size, 10)
}

// Comment is the step's comment.
func (r *historyRow) Comment() string { return r.h.Comment }

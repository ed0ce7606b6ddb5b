package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"golang.org/x/term"

	"lighter/api"
	"lighter/client"
)

// imageTree prints images --tree: an image is a block of its names, the last of which
// carries what is known of it. Images are of one platform each here, so there are no
// branches below.
func imageTree(ctx context.Context, a *App, o imagesOptions) error {
	if err := o.checkTree(); err != nil {
		return err
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	list, err := c.Images().List(ctx, client.ImageListOptions{All: o.all, Manifests: true, Filters: o.filters.values})
	if err != nil {
		return err
	}
	if !o.all {
		list = slices.DeleteFunc(list, func(img api.ImageSummary) bool { return nameless(&img) })
	}
	slices.SortStableFunc(list, func(x, y api.ImageSummary) int { return cmp.Compare(y.Created, x.Created) })
	width := 80
	if w, _, err := term.GetSize(int(a.Out.Fd())); err == nil && w > 0 {
		width = max(w, 20)
	}
	const fixed = 3 + 12 + 3 + 10 + 3 + 12 + 3 + 5 // the columns after the first
	first := len("Image")
	for _, img := range list {
		for _, name := range img.RepoTags {
			first = max(first, len(name))
		}
	}
	first = max(min(first, width-fixed), len("Image"))
	var b strings.Builder
	b.WriteString("WARNING: This is an experimental feature. The output may change and shouldn't be depended on.\n")
	fmt.Fprintf(&b, "%*s\n\n", width, "Info ->  U In Use ")
	bold := func(s string, width int) {
		if !a.docker() && !colours(a.Out) {
			fmt.Fprintf(&b, "%s%*s", s, max(width-len(s), 0), "")
			return
		}
		fmt.Fprintf(&b, "\x1b[39m\x1b[1m%s\x1b[0m%*s", s, max(width-len(s), 0), "")
	}
	bold("IMAGE", first+3)
	bold("ID", 12+3)
	bold("DISK USAGE", 10+3)
	bold("CONTENT SIZE", 12+3)
	bold("EXTRA", 0)
	b.WriteByte('\n')
	for n := range list {
		treeBlock(&b, &list[n], first)
	}
	_, err = a.Out.WriteString(b.String())
	return err
}

// treeBlock prints one image.
func treeBlock(b *strings.Builder, img *api.ImageSummary, first int) {
	names := slices.Clone(img.RepoTags)
	slices.SortStableFunc(names, func(x, y string) int { return len(y) - len(x) })
	last := "<untagged>"
	if len(names) > 0 {
		last = names[len(names)-1]
		for _, name := range names[:len(names)-1] {
			b.WriteString(name + "\n")
		}
	}
	used := ""
	if img.Containers > 0 {
		used = "U"
	}
	fmt.Fprintf(b, "%-*s   %-12s   %10s   %12s   %-5s\n", first, ellipsis(last, first), shortID(img.ID),
		units.HumanSizeWithPrecision(float64(img.Size), 3), "0B", used)
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/client"
	"lighter/oci"
)

// imagesOptions are the flags of images.
type imagesOptions struct {
	quiet, all, noTrunc, digests, tree bool
	format, match, called              string
	filters                            *filterFlag
}

func newImages(a *App) *cobra.Command {
	o := imagesOptions{filters: newFilters()}
	cmd := &cobra.Command{
		Use:                   "images [OPTIONS] [REPOSITORY[:TAG]]",
		Short:                 "List images",
		Args:                  atMost(1),
		DisableFlagsInUseLine: true,
		Annotations:           map[string]string{aliases: "image ls, image list, images"},
		ValidArgsFunction:     a.completeImages(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.match = args[0]
			}
			o.called = cmd.CalledAs()
			return listImages(cmd.Context(), a, o)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.quiet, "quiet", "q", false, "Print ids alone")
	f.BoolVarP(&o.all, "all", "a", false, "List those without a name that others were made from, too")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "Cut nothing short")
	f.BoolVar(&o.digests, "digests", false, "Print digests as well")
	f.StringVar(&o.format, "format", "", formatHelp)
	f.VarP(o.filters, "filter", "f", "List only what matches (name=value)")
	f.BoolVar(&o.tree, "tree", false, "Print images as a tree, with what they hold for each platform (EXPERIMENTAL)")
	return cmd
}

// newImageLs is images by its longer name.
func newImageLs(a *App) *cobra.Command {
	cmd := newImages(a)
	cmd.Use, cmd.Aliases = "ls [OPTIONS] [REPOSITORY[:TAG]]", []string{"list"}
	return cmd
}

func listImages(ctx context.Context, a *App, o imagesOptions) error {
	if o.match != "" {
		o.filters.values.Add("reference", o.match)
	}
	if o.tree {
		return imageTree(ctx, a, o)
	}
	c, err := a.Client()
	if err != nil {
		return err
	}
	list, err := c.Images().List(ctx, client.ImageListOptions{All: o.all, Filters: o.filters.values})
	if err != nil {
		return err
	}
	if o.format == "" && !o.quiet {
		o.format = a.config().ImagesFormat
	}
	rows := imageRows(list, o)
	for _, r := range rows {
		r.docker = a.docker()
	}
	l := listing{format: imagesFormat(o), headers: imageHeaders, window: windowOf(a, o.format, o.noTrunc)}
	l.paint = l.window > 0 && colours(a.Out)
	if err := l.write(a.Out, len(rows), func(n int) any { return rows[n] }); err != nil {
		return err
	}
	if o.match != "" && len(list) == 0 && o.called == "images" && slices.Contains(imageVerbs, o.match) {
		a.warn("\nNo images found matching %q: did you mean \"%s image %s\"?", o.match, a.name, o.match)
	}
	return nil
}

// imageVerbs are what people may mean when they look for an image of such a name.
var imageVerbs = []string{
	"build", "history", "import", "inspect", "list", "load", "ls", "prune", "pull", "push", "rm", "save", "tag",
}

func imagesFormat(o imagesOptions) string {
	switch o.format {
	case "", "table":
		switch {
		case o.quiet:
			return "{{.ID}}"
		case o.digests:
			return "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}"
		}
		return "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}"
	case "raw":
		if o.quiet {
			return "image_id: {{.ID}}"
		}
		digest := ""
		if o.digests {
			digest = "digest: {{.Digest}}\n"
		}
		return "repository: {{ .Repository }}\ntag: {{.Tag}}\n" + digest +
			"image_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n"
	}
	if o.digests && strings.HasPrefix(o.format, "table") && !strings.Contains(o.format, "{{.Digest}}") {
		return o.format + "\t{{.Digest}}"
	}
	return o.format
}

// imageRows makes a row of each name of each image.
func imageRows(list []api.ImageSummary, o imagesOptions) []*imageRow {
	var rows []*imageRow
	withDigest := o.digests || strings.Contains(imagesFormat(o), "{{.Digest}}")
	now := time.Now()
	for n := range list {
		img := &list[n]
		add := func(repo, tag, digest string) {
			rows = append(rows, &imageRow{img: img, short: !o.noTrunc, now: now, repo: repo, tag: tag, digest: digest})
		}
		if nameless(img) {
			add("<none>", "<none>", "<none>")
			continue
		}
		tags, digests := byRepository(img.RepoTags), byRepository(img.RepoDigests)
		for _, t := range tags {
			pinned := namesOf(digests, t.repo)
			if !withDigest {
				pinned = nil
			}
			for _, tag := range t.rest {
				if len(pinned) == 0 {
					add(t.repo, tag, "<none>")
				}
				for _, digest := range pinned {
					add(t.repo, tag, digest)
				}
			}
		}
		for _, d := range digests {
			switch {
			case namesOf(tags, d.repo) != nil:
			case o.digests:
				for _, digest := range d.rest {
					add(d.repo, "<none>", digest)
				}
			default:
				add(d.repo, "<none>", "")
			}
		}
	}
	return rows
}

func nameless(img *api.ImageSummary) bool {
	return len(img.RepoTags)+len(img.RepoDigests) == 0 ||
		len(img.RepoTags) == 1 && img.RepoTags[0] == "<none>:<none>" && len(img.RepoDigests) == 1 && img.RepoDigests[0] == "<none>@<none>"
}

// repoNames are the tags, or the digests, of one repository.
type repoNames struct {
	repo string
	rest []string
}

// byRepository groups names, in the order in which they come.
func byRepository(names []string) []repoNames {
	var list []repoNames
	for _, name := range names {
		ref, err := oci.ParseReference(name)
		if err != nil || ref.NameOnly() {
			continue
		}
		rest := ref.Tag
		if rest == "" {
			rest = string(ref.Digest)
		}
		n := slices.IndexFunc(list, func(r repoNames) bool { return r.repo == ref.FamiliarName() })
		if n < 0 {
			n = len(list)
			list = append(list, repoNames{repo: ref.FamiliarName()})
		}
		list[n].rest = append(list[n].rest, rest)
	}
	return list
}

func namesOf(list []repoNames, repo string) []string {
	for _, r := range list {
		if r.repo == repo {
			return r.rest
		}
	}
	return nil
}

var imageHeaders = map[string]string{
	"ID": "IMAGE ID", "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT",
	"Size": "SIZE", "Containers": "CONTAINERS", "VirtualSize": "SIZE", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
}

// imageRow is a row of images; its methods are the placeholders.
type imageRow struct {
	img               *api.ImageSummary
	short             bool
	now               time.Time
	repo, tag, digest string
	docker            bool // Docker 28.2 asks by API 1.50, which does not count containers
}

func (r *imageRow) row() {}

// ID is the id, short unless --no-trunc.
func (r *imageRow) ID() string {
	if r.short {
		return shortID(r.img.ID)
	}
	return r.img.ID
}

// Repository is the name without its tag.
func (r *imageRow) Repository() string { return r.repo }

// Tag is the tag.
func (r *imageRow) Tag() string { return r.tag }

// Digest is the digest by which a registry knows the image.
func (r *imageRow) Digest() string { return r.digest }

// CreatedSince is the image's age.
func (r *imageRow) CreatedSince() string {
	return units.HumanDuration(r.now.Sub(time.Unix(r.img.Created, 0))) + " ago"
}

// CreatedAt is when the image was made.
func (r *imageRow) CreatedAt() string { return time.Unix(r.img.Created, 0).String() }

// Size is the size of all layers.
func (r *imageRow) Size() string { return units.HumanSizeWithPrecision(float64(r.img.Size), 3) }

// VirtualSize is Size, with a digit more.
func (r *imageRow) VirtualSize() string { return units.HumanSize(float64(r.img.Size)) }

// Containers is the number of containers made from the image.
func (r *imageRow) Containers() string {
	if r.img.Containers == -1 || r.docker {
		return "N/A"
	}
	return strconv.FormatInt(r.img.Containers, 10)
}

// SharedSize is the size of the layers that other images have, too.
func (r *imageRow) SharedSize() string {
	if r.img.SharedSize == -1 {
		return "N/A"
	}
	return units.HumanSize(float64(r.img.SharedSize))
}

// UniqueSize is the size of the layers that no other image has.
func (r *imageRow) UniqueSize() string {
	if r.img.Size == -1 || r.img.SharedSize == -1 {
		return "N/A"
	}
	return units.HumanSize(float64(r.img.Size - r.img.SharedSize))
}

// checkTree refuses what cannot go with --tree.
func (o imagesOptions) checkTree() error {
	for _, f := range []struct {
		on   bool
		name string
	}{{o.quiet, "--quiet"}, {o.noTrunc, "--no-trunc"}, {o.digests, "--show-digest"}, {o.format != "", "--format"}} {
		if f.on {
			return errors.New(f.name + " is not yet supported with --tree")
		}
	}
	return nil
}

// platformFlag reads --platform; empty gives nil.
func platformFlag(s string) (*api.Platform, error) {
	if s == "" {
		return nil, nil
	}
	p, err := oci.ParsePlatform(s)
	if err != nil {
		return nil, err
	}
	return &api.Platform{Architecture: p.Architecture, OS: p.OS, Variant: p.Variant}, nil
}

// somePlatform is platformFlag for the commands whose error says what is wrong.
func somePlatform(s string) (*api.Platform, error) {
	p, err := platformFlag(s)
	if err != nil {
		return nil, fmt.Errorf("invalid platform: %w", err)
	}
	return p, nil
}

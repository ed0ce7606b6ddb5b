package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"lighter/api"
	"lighter/oci"
)

func newSystemDf(a *App) *cobra.Command {
	var verbose bool
	var format string
	cmd := &cobra.Command{
		Use:                   "df [OPTIONS]",
		Short:                 "Show what images, containers and volumes take of the disk",
		Args:                  noArgs,
		DisableFlagsInUseLine: true,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return diskUsage(cmd.Context(), a, verbose, format)
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show each image, container and volume")
	cmd.Flags().StringVar(&format, "format", "", formatHelp)
	return cmd
}

func diskUsage(ctx context.Context, a *App, verbose bool, format string) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	du, err := c.System().DiskUsage(ctx)
	if err != nil {
		return err
	}
	if format == "" {
		format = "table"
	}
	if verbose {
		return usageInDetail(a, &du, format)
	}
	if format == "table" {
		format = `table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}`
	}
	rows := usageRows(&du)
	l := listing{format: format, headers: map[string]string{
		"Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE", "Reclaimable": "RECLAIMABLE",
	}}
	return l.write(a.Out, len(rows), func(i int) any { return rows[i] })
}

// usageRow is a kind of thing, and what all of it takes.
type usageRow struct {
	kind           string
	total, active  int
	size, unneeded int64
	percent        bool
}

func (r *usageRow) row() {}

// Type is what is counted.
func (r *usageRow) Type() string { return r.kind }

// TotalCount is how many there are.
func (r *usageRow) TotalCount() string { return strconv.Itoa(r.total) }

// Active is how many are in use.
func (r *usageRow) Active() string { return strconv.Itoa(r.active) }

// Size is what they take.
func (r *usageRow) Size() string { return units.HumanSize(float64(r.size)) }

// Reclaimable is what would be free if all that is not in use went.
func (r *usageRow) Reclaimable() string {
	text := units.HumanSize(float64(r.unneeded))
	if r.percent && r.size > 0 {
		text += fmt.Sprintf(" (%d%%)", r.unneeded*100/r.size)
	}
	return text
}

func usageRows(du *api.DiskUsage) []*usageRow {
	images := &usageRow{kind: "Images", total: len(du.Images), size: du.LayersSize, unneeded: du.LayersSize, percent: true}
	for _, i := range du.Images {
		if i.Containers > 0 {
			images.active++
		}
		if i.Containers != 0 && i.Size != -1 && i.SharedSize != -1 {
			images.unneeded -= i.Size - i.SharedSize
		}
	}
	containers := &usageRow{kind: "Containers", total: len(du.Containers), percent: true}
	for _, c := range du.Containers {
		containers.size += c.SizeRw
		switch c.State {
		case api.StatusRunning, api.StatusPaused, api.StatusRestarting:
			containers.active++
		default:
			containers.unneeded += c.SizeRw
		}
	}
	volumes := &usageRow{kind: "Local Volumes", total: len(du.Volumes), percent: true}
	for _, v := range du.Volumes {
		u := v.UsageData
		if u == nil {
			continue
		}
		if u.RefCount > 0 {
			volumes.active++
		}
		if u.Size != -1 {
			volumes.size += u.Size
			if u.RefCount == 0 {
				volumes.unneeded += u.Size
			}
		}
	}
	cache := &usageRow{kind: "Build Cache", total: len(du.BuildCache)}
	for _, b := range du.BuildCache {
		if b.InUse {
			cache.active++
		}
		if !b.Shared {
			cache.size += b.Size
			if !b.InUse {
				cache.unneeded += b.Size
			}
		}
	}
	return []*usageRow{images, containers, volumes, cache}
}

// usageDetail is all things, as templates of `system df -v` see them.
type usageDetail struct {
	Images     []*imageRow
	Containers []*psRow
	Volumes    []*volumeRow
	BuildCache []*cacheRow
}

// MarshalJSON gives each thing's placeholders.
func (d *usageDetail) MarshalJSON() ([]byte, error) {
	out := struct{ Images, Containers, Volumes, BuildCache []json.RawMessage }{
		[]json.RawMessage{}, []json.RawMessage{}, []json.RawMessage{}, []json.RawMessage{},
	}
	var failed error
	add := func(list *[]json.RawMessage, row any) {
		text, err := rowJSON(row)
		if err != nil {
			failed = err
		}
		*list = append(*list, text)
	}
	for _, r := range d.Images {
		add(&out.Images, r)
	}
	for _, r := range d.Containers {
		add(&out.Containers, r)
	}
	for _, r := range d.Volumes {
		add(&out.Volumes, r)
	}
	for _, r := range d.BuildCache {
		add(&out.BuildCache, r)
	}
	if failed != nil {
		return nil, failed
	}
	return json.Marshal(out)
}

func usageInDetail(a *App, du *api.DiskUsage, format string) error {
	now, short := time.Now(), strings.HasPrefix(format, "table")
	d := &usageDetail{}
	for i := range du.Images {
		img := &du.Images[i]
		row := &imageRow{img: img, short: short, now: now, repo: "<none>", tag: "<none>", digest: "<none>"}
		if len(img.RepoTags) > 0 && !nameless(img) {
			ref, err := oci.ParseReference(img.RepoTags[0])
			if err != nil {
				continue
			}
			row.repo, row.tag = ref.FamiliarName(), ref.Tag
		}
		d.Images = append(d.Images, row)
	}
	for i := range du.Containers {
		du.Containers[i].SizeRootFs = 0
		d.Containers = append(d.Containers, &psRow{c: &du.Containers[i], short: short, now: now})
	}
	for _, v := range du.Volumes {
		d.Volumes = append(d.Volumes, &volumeRow{v: v})
	}
	var cached int64
	for i := range du.BuildCache {
		b := &du.BuildCache[i]
		if !b.Shared {
			cached += b.Size
		}
		d.BuildCache = append(d.BuildCache, &cacheRow{b: b, short: short, now: now})
	}
	if format == "table" {
		return usageTables(a, d, cached)
	}
	if format == "json" {
		format = "{{json .}}"
	}
	t, err := parseTemplate("", strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(format))
	if err != nil {
		return err
	}
	return t.Execute(a.Out, d)
}

// usageTables prints a table for each kind.
func usageTables(a *App, d *usageDetail, cached int64) error {
	var out bytes.Buffer
	for _, part := range []struct {
		title, columns string
		n              int
		row            func(int) any
		headers        map[string]string
	}{
		{"Images space usage:", `{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}`,
			len(d.Images), func(i int) any { return d.Images[i] }, map[string]string{
				"Repository": "REPOSITORY", "Tag": "TAG", "ID": "IMAGE ID", "CreatedSince": "CREATED", "Size": "SIZE",
				"SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE", "Containers": "CONTAINERS",
			}},
		{"\nContainers space usage:", `{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}`,
			len(d.Containers), func(i int) any { return d.Containers[i] }, map[string]string{
				"ID": "CONTAINER ID", "Image": "IMAGE", "Command": "COMMAND", "LocalVolumes": "LOCAL VOLUMES", "Size": "SIZE",
				"RunningFor": "CREATED", "Status": "STATUS", "Names": "NAMES",
			}},
		{"\nLocal Volumes space usage:", `{{.Name}}\t{{.Links}}\t{{.Size}}`,
			len(d.Volumes), func(i int) any { return d.Volumes[i] }, map[string]string{"Name": "VOLUME NAME", "Links": "LINKS", "Size": "SIZE"}},
		{"\nBuild cache usage: " + units.HumanSize(float64(cached)),
			`{{.ID}}\t{{.CacheType}}\t{{.Size}}\t{{.CreatedSince}}\t{{.LastUsedSince}}\t{{.UsageCount}}\t{{.Shared}}`,
			len(d.BuildCache), func(i int) any { return d.BuildCache[i] }, map[string]string{
				"ID": "CACHE ID", "CacheType": "CACHE TYPE", "Size": "SIZE", "CreatedSince": "CREATED",
				"LastUsedSince": "LAST USED", "UsageCount": "USAGE", "Shared": "SHARED",
			}},
	} {
		fmt.Fprintf(&out, "%s\n\n", part.title)
		if err := (listing{format: "table " + part.columns, headers: part.headers}).write(&out, part.n, part.row); err != nil {
			return err
		}
	}
	_, err := out.WriteTo(a.Out)
	return err
}

// cacheRow is a piece of a builder's cache, of an engine that has one.
type cacheRow struct {
	b     *api.BuildCache
	short bool
	now   time.Time
}

func (r *cacheRow) row() {}

// ID is its id, with a star when it is not in use.
func (r *cacheRow) ID() string {
	id := r.b.ID
	if r.short {
		id = shortID(id)
	}
	if !r.b.InUse {
		id += "*"
	}
	return id
}

// CacheType is what it holds.
func (r *cacheRow) CacheType() string { return r.b.Type }

// Size is what it takes.
func (r *cacheRow) Size() string { return units.HumanSizeWithPrecision(float64(r.b.Size), 3) }

// CreatedSince is its age.
func (r *cacheRow) CreatedSince() string { return since(r.b.CreatedAt, r.now) }

// LastUsedSince is how long nobody needed it.
func (r *cacheRow) LastUsedSince() string { return since(r.b.LastUsedAt, r.now) }

// UsageCount is how often it was of use.
func (r *cacheRow) UsageCount() string { return strconv.Itoa(r.b.UsageCount) }

// Shared tells whether other things hold the same bytes.
func (r *cacheRow) Shared() string { return strconv.FormatBool(r.b.Shared) }

func since(at string, now time.Time) string {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return ""
	}
	return units.HumanDuration(now.Sub(t)) + " ago"
}

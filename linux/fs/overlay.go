package fs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// OverlayOptions tells of which folders an overlay is made. Without an Upper it can
// only be read.
type OverlayOptions struct {
	Lower    []string // topmost first; at least one
	Upper    string
	Work     string // beside Upper, on the same file system, empty
	Volatile bool   // skip all fsync: what is written is lost when the machine falls
	ReadOnly bool   // the mount, whatever the file system could
	Plain    bool   // Upper is to make sense by itself: no marks in it that lead to Lower

	// Users are those whose ids the overlay shows in place of those that the folders hold:
	// what root owns there belongs to their root here. nil: as they are.
	Users *Users
}

// pointers are the features of overlayfs that leave such marks, where the machine has them on.
var pointers = sync.OnceValue(func() []string {
	var on []string
	for _, name := range []string{"redirect_dir", "metacopy", "index"} {
		if text, err := os.ReadFile("/sys/module/overlay/parameters/" + name); err == nil && strings.TrimSpace(string(text)) == "Y" {
			on = append(on, name)
		}
	}
	return on
})

// Overlay mounts an overlay in no namespace at all: the file is its root, and the
// mount ends when the last descriptor of it, or mount moved from it, ends.
func Overlay(o OverlayOptions) (*os.File, error) {
	if len(o.Lower) == 0 {
		return nil, errors.New("overlay without a lower folder")
	}
	attrs := 0
	if o.ReadOnly {
		attrs = ReadOnly
	}
	if o.Users != nil {
		return mappedOverlay(o, attrs)
	}
	if oldOverlay.Load() {
		return overlayByMount(o, attrs)
	}
	c := New("overlay")
	c.Set("source", "overlay")
	for _, dir := range o.Lower {
		c.Set("lowerdir+", dir)
	}
	if InUserSpace() {
		c.Flag("userxattr")
	}
	if o.Upper != "" {
		c.Set("upperdir", o.Upper).Set("workdir", o.Work)
		o.settings(c)
	}
	f, err := c.Mount(attrs)
	if errors.Is(err, unix.EINVAL) {
		// Before Linux 6.5 there is no lowerdir+. Some kernels say so when the option is
		// set, some when the file system is made; neither says that it is for this reason.
		if f, oerr := overlayByMount(o, attrs); oerr == nil {
			oldOverlay.Store(true)
			return f, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("overlay on %s: %w", o.Lower[0], err)
	}
	return f, nil
}

// settings are those of an overlay that can be written.
func (o *OverlayOptions) settings(c *Context) {
	if o.Plain {
		for _, name := range pointers() {
			c.Set(name, "off")
		}
	}
	if o.Volatile {
		c.Flag("volatile")
	}
}

// oldOverlay is set once the kernel has shown that it knows no lowerdir+.
var oldOverlay atomic.Bool

// overlayByMount mounts by mount(2), whose option string holds one page only, so
// the folders are named relative to one they share, from a thread that has a mount
// namespace of its own and is thrown away with it.
func overlayByMount(o OverlayOptions, attrs int) (*os.File, error) {
	return throwaway(func() (*os.File, error) { return overlayHere(o, attrs) })
}

func overlayHere(o OverlayOptions, attrs int) (*os.File, error) {
	if err := leaveMounts(); err != nil {
		return nil, err
	}
	lowers := make([]string, len(o.Lower))
	base := commonParent(o.Lower)
	for i, dir := range o.Lower {
		rel, err := filepath.Rel(base, dir)
		if err != nil {
			return nil, err
		}
		lowers[i] = escapeOption(rel)
	}
	data := "lowerdir=" + strings.Join(lowers, ":")
	if InUserSpace() {
		data += ",userxattr"
	}
	if o.Upper != "" {
		data += ",upperdir=" + escapeOption(o.Upper) + ",workdir=" + escapeOption(o.Work)
		if o.Volatile {
			data += ",volatile"
		}
		if o.Plain {
			for _, name := range pointers() {
				data += "," + name + "=off"
			}
		}
	}
	if len(data) >= os.Getpagesize() {
		return nil, fmt.Errorf("overlay of %d layers needs Linux 6.5: the options of mount(2) hold %d bytes, not %d", len(o.Lower), os.Getpagesize()-1, len(data))
	}
	if err := unix.Chdir(base); err != nil {
		return nil, &os.PathError{Op: "chdir", Path: base, Err: err}
	}
	// Onto the folder itself: there is no need for a mount point of our own.
	if err := unix.Mount("overlay", o.Lower[0], "overlay", 0, data); err != nil {
		return nil, fmt.Errorf("mount overlay on %s: %w", o.Lower[0], err)
	}
	f, err := Clone(nil, o.Lower[0], false)
	if err == nil && attrs != 0 {
		err = SetAttr(f, uint64(attrs), 0, 0, false)
	}
	return f, err
}

func commonParent(dirs []string) string {
	base := filepath.Dir(dirs[0])
	for _, dir := range dirs[1:] {
		for base != "/" && !strings.HasPrefix(dir, base+"/") {
			base = filepath.Dir(base)
		}
	}
	return base
}

// escapeOption guards what mount(2) would read as a separator.
func escapeOption(path string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`, `,`, `\,`).Replace(path)
}

// Tmpfs makes a tmpfs that stands nowhere. data is as mount(8) writes it.
func Tmpfs(data string, attrs int) (*os.File, error) {
	return New("tmpfs").Set("source", "tmpfs").Options(data).Mount(attrs)
}

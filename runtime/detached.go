package runtime

import (
	"fmt"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"lighter/linux/fs"
)

// Detached makes a mount of the spec that stands nowhere yet: a bind, whose source may
// be such a mount itself (else it is opened by its path), or a file system that needs
// none of a container's namespaces. The source becomes the caller's mount.
func Detached(m *specs.Mount, source *os.File) (*os.File, error) {
	o, err := parseOptions(m.Options)
	if err != nil {
		return nil, err
	}
	if !o.bind && m.Type != "bind" {
		return newFS(m, o, o.data)
	}
	if source == nil {
		if source, err = fs.Clone(nil, m.Source, o.deep); err != nil {
			return nil, err
		}
	}
	if err := o.dress(source); err != nil {
		source.Close()
		return nil, err
	}
	return source, nil
}

// dress gives a bind mount its attributes. It is private unless said otherwise.
func (o *mountOptions) dress(f *os.File) error {
	if o.set|o.clear != 0 {
		if err := fs.SetAttr(f, o.set, o.clear, 0, false); err != nil {
			return err
		}
	}
	if o.rset|o.rclear != 0 {
		if err := fs.SetAttr(f, o.rset, o.rclear, 0, true); err != nil {
			return err
		}
	}
	if o.how == 0 {
		o.how, o.howDeep = fs.Private, true
	}
	return fs.SetAttr(f, 0, 0, o.how, o.howDeep)
}

// newFS makes a file system outside of all namespaces but the host's.
func newFS(m *specs.Mount, o mountOptions, data []string) (*os.File, error) {
	if o.copyUp && m.Type == "tmpfs" {
		return nil, fmt.Errorf("option tmpcopyup is not supported")
	}
	c := fs.New(m.Type)
	if m.Source != "" {
		c.Set("source", m.Source)
	}
	for _, w := range o.flags {
		c.Flag(w)
	}
	for _, w := range data {
		c.Options(w)
	}
	root, err := c.Mount(int(o.set))
	if err == nil && o.how != 0 {
		if err = fs.SetAttr(root, 0, 0, o.how, o.howDeep); err != nil {
			root.Close()
		}
	}
	return root, err
}

package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"lighter/linux/fs"
)

// Volumes does for volumes what volume.Machine asks for.
type Volumes struct{}

func (Volumes) Mounted(path string) (bool, error) { return fs.Mounted(path) }

func (Volumes) Unmount(path string) error {
	there, err := fs.Mounted(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !there {
		return nil
	}
	return errors.Join(err, fs.Unmount(path))
}

var errFound = errors.New("found")

func (Volumes) Empty(path string) (bool, error) {
	d, err := fs.OpenDir(path)
	if err != nil {
		return false, err
	}
	defer d.Close()
	err = d.Names(func(string, uint32) error { return errFound })
	if err == errFound {
		return false, nil
	}
	return err == nil, err
}

func (Volumes) Quota(path string) bool { return fs.ProjectQuota(path) }

func (Volumes) Limit(path string, project uint32, size uint64) error {
	return fs.LimitProject(path, project, size)
}

// mountWords are the options of mount(8) that are no option of a file system. flag is
// mount(2)'s number, which error messages name.
var mountWords = map[string]struct{ flag, set, clear, how uint64 }{
	"defaults": {}, "rw": {}, "suid": {}, "dev": {}, "exec": {}, "async": {}, "atime": {}, "diratime": {}, "norelatime": {}, "nostrictatime": {},
	"ro": {0x1, fs.ReadOnly, 0, 0}, "nosuid": {0x2, fs.NoSuid, 0, 0}, "nodev": {0x4, fs.NoDev, 0, 0}, "noexec": {0x8, fs.NoExec, 0, 0},
	"noatime": {0x400, fs.NoAtime, fs.AtimeMask, 0}, "nodiratime": {0x800, fs.NoDiratime, 0, 0},
	"relatime": {0x200000, fs.RelAtime, fs.AtimeMask, 0}, "strictatime": {0x1000000, fs.StrictAtime, fs.AtimeMask, 0},
	"bind": {0x1000, 0, 0, 0}, "rbind": {0x5000, 0, 0, 0},
	"private": {0x40000, 0, 0, fs.Private}, "rprivate": {0x44000, 0, 0, fs.Private}, "slave": {0x80000, 0, 0, fs.Slave}, "rslave": {0x84000, 0, 0, fs.Slave},
	"shared": {0x100000, 0, 0, fs.Shared}, "rshared": {0x104000, 0, 0, fs.Shared},
}

const bindFlag, deepFlag = 0x1000, 0x4000

// mountPlan is what the words of a volume's options come to.
type mountPlan struct {
	flags, set, clear, how uint64
	data                   []string
}

func planMount(options string) mountPlan {
	var p mountPlan
	for word := range strings.SplitSeq(options, ",") {
		w, known := mountWords[word]
		switch {
		case word == "":
		case known:
			p.flags, p.set, p.clear = p.flags|w.flag, p.set&^w.clear|w.set, p.clear|w.clear
			if w.how != 0 {
				p.how = w.how
			}
		default:
			p.data = append(p.data, word)
		}
	}
	return p
}

// Mount mounts on a folder, in the words of Docker's errors.
func (Volumes) Mount(path, kind, device, options string) error {
	if device == "" {
		return errors.New("missing device in volume options")
	}
	device, options, err := resolveShare(kind, device, options)
	if err != nil {
		return err
	}
	p := planMount(options)
	mount, err := p.mount(kind, device)
	if err == nil {
		defer mount.Close()
		err = fs.Attach(mount, path)
	}
	if err == nil {
		return nil
	}
	text := err.Error()
	var at *os.PathError
	if errors.As(err, &at) {
		text = at.Err.Error()
	}
	said := "failed to mount local volume: mount " + device + ":" + path
	if p.flags != 0 {
		said += ", flags: 0x" + strconv.FormatUint(p.flags, 16)
	}
	if len(p.data) > 0 {
		said += ", data: " + strings.Join(p.data, ",")
	}
	return errors.New(hidePassword(said+": "+text, options))
}

// mount makes the mount, which stands nowhere yet.
func (p *mountPlan) mount(kind, device string) (*os.File, error) {
	if p.flags&bindFlag != 0 {
		mount, err := fs.Clone(nil, device, p.flags&deepFlag != 0)
		if err == nil && p.set|p.clear|p.how != 0 {
			if err = fs.SetAttr(mount, p.set, p.clear, p.how, false); err != nil {
				mount.Close()
			}
		}
		return mount, err
	}
	c := fs.New(kind).Set("source", device)
	if p.set&fs.ReadOnly != 0 {
		c.Flag("ro")
	}
	mount, err := c.Options(strings.Join(p.data, ",")).Mount(int(p.set))
	if err == nil && p.how != 0 {
		if err = fs.SetAttr(mount, 0, 0, p.how, false); err != nil {
			mount.Close()
		}
	}
	return mount, err
}

// resolveShare looks up the hosts that network shares name: the kernel knows addresses only.
func resolveShare(kind, device, options string) (string, string, error) {
	if kind != "nfs" && kind != "cifs" {
		return device, options, nil
	}
	resolve := func(host string) (string, error) {
		ip, err := net.ResolveIPAddr("ip", host)
		if err != nil {
			return "", fmt.Errorf("error resolving passed in network volume address: %w", err)
		}
		return ip.String(), nil
	}
	for word := range strings.SplitSeq(options, ",") {
		if host, ok := strings.CutPrefix(word, "addr="); ok && net.ParseIP(host).To4() == nil {
			ip, err := resolve(host)
			return device, strings.Replace(options, word, "addr="+ip, 1), err
		}
	}
	if kind == "nfs" {
		return device, options, nil
	}
	u, err := url.Parse(device)
	if err != nil {
		return "", "", fmt.Errorf("error parsing mount device url: %w", err)
	}
	if u.Host == "" || net.ParseIP(u.Host) != nil {
		return device, options, nil
	}
	if u.Host, err = resolve(u.Host); err != nil {
		return "", "", err
	}
	device, err = url.QueryUnescape(u.String())
	return device, options, err
}

// hidePassword keeps a share's password out of messages and logs.
func hidePassword(text, options string) string {
	for word := range strings.SplitSeq(options, ",") {
		if secret, ok := strings.CutPrefix(word, "password="); ok && secret != "" {
			text = strings.ReplaceAll(text, "password="+secret, "password=********")
		}
	}
	return text
}

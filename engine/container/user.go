package container

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	maxAccounts = 4 << 20   // bytes of a passwd or group file: more is refused, not read
	maxID       = 1<<31 - 1 // ids beyond are refused: they were read as root elsewhere
	badRange    = "uids and gids must be in range 0-2147483647"
)

// account is a user as a process gets it.
type account struct {
	specs.User
	home string
}

// accounts looks users up in a root file system, whose files may be hostile: links
// stay inside, only regular files are read, and only so much of them.
type accounts struct {
	fs   Rootfs
	root *os.File
}

// lookup resolves name|uid[:group|gid], "" being root, with the groups of GroupAdd.
//
// A number is an id whatever the files say of a user with such a name; a name must
// be there. The primary group is always among the supplementary ones, so that a
// program cannot shed it to pass a file's negative group permission.
func lookup(fs Rootfs, root *os.File, user string, groupAdd []string) (account, error) {
	a := &accounts{fs: fs, root: root}
	name, group, explicit := strings.Cut(user, ":")
	out := account{home: "/"}
	uid, numeric, err := parseID(name)
	if err != nil {
		return out, err
	}
	passwd, err := a.read("/etc/passwd", 7)
	if err != nil {
		return out, err
	}
	found := slices.IndexFunc(passwd, func(f []string) bool {
		if name == "" || numeric {
			id, err := strconv.ParseUint(f[2], 10, 32)
			return err == nil && uint32(id) == uid
		}
		return f[0] == name
	})
	if found < 0 && name != "" && !numeric {
		return out, fmt.Errorf("unable to find user %s: no matching entries in passwd file", name)
	}
	out.UID = uid
	if found >= 0 {
		f := passwd[found]
		id, err1 := strconv.ParseUint(f[2], 10, 31)
		gid, err2 := strconv.ParseUint(f[3], 10, 31)
		if err1 != nil || err2 != nil {
			return out, errors.New(badRange)
		}
		out.UID, out.GID, out.home, name = uint32(id), uint32(gid), f[5], f[0]
	}
	groups, err := a.read("/etc/group", 4)
	if err != nil {
		return out, err
	}
	switch {
	case explicit && group != "":
		if out.GID, err = findGroup(groups, group); err != nil {
			return out, err
		}
		out.AdditionalGids = []uint32{out.GID}
	default:
		out.AdditionalGids = []uint32{out.GID}
		for _, f := range groups {
			if id, err := strconv.ParseUint(f[2], 10, 31); err == nil && slices.Contains(strings.Split(f[3], ","), name) && name != "" {
				out.AdditionalGids = append(out.AdditionalGids, uint32(id))
			}
		}
	}
	for _, g := range groupAdd {
		id, err := findGroup(groups, g)
		if err != nil {
			return out, err
		}
		if !slices.Contains(out.AdditionalGids, id) {
			out.AdditionalGids = append(out.AdditionalGids, id)
		}
	}
	return out, nil
}

// parseID reads an id. What is no number at all is a name; a number out of range is
// an error, never a name (CVE-2016-3697, CVE-2024-40635, CVE-2026-46680).
func parseID(s string) (id uint32, numeric bool, err error) {
	digits := strings.TrimLeft(s, "+-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > maxID {
		return 0, true, errors.New(badRange)
	}
	return uint32(n), true, nil
}

func findGroup(groups [][]string, want string) (uint32, error) {
	id, numeric, err := parseID(want)
	if err != nil || numeric {
		return id, err
	}
	for _, f := range groups {
		if f[0] == want {
			n, err := strconv.ParseUint(f[2], 10, 31)
			if err != nil {
				return 0, errors.New(badRange)
			}
			return uint32(n), nil
		}
	}
	return 0, fmt.Errorf("unable to find group %s: no matching entries in group file", want)
}

// read gives the lines of an account file, each with at least so many fields. A
// missing file is an empty one.
func (a *accounts) read(path string, fields int) ([][]string, error) {
	b, err := a.fs.ReadFile(a.root, path, maxAccounts)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case errors.Is(err, ErrTooLarge):
		return nil, fmt.Errorf("%s of the image is larger than %d bytes", path, maxAccounts)
	case err != nil:
		return nil, fmt.Errorf("read %s of the image: %w", path, err)
	}
	var lines [][]string
	sc := bufio.NewScanner(bytes.NewReader(b))
	sc.Buffer(nil, maxAccounts+1)
	for sc.Scan() {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.SplitN(line, ":", fields)
		for len(f) < fields {
			f = append(f, "")
		}
		lines = append(lines, f)
	}
	return lines, sc.Err()
}

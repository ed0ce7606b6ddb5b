package account

import (
	"slices"
	"strings"
)

// Actions on a repository.
const (
	Pull     = "pull"     // read all that is in it
	Push     = "push"     // add to it; make it, when it is not there
	Delete   = "delete"   // take tags, manifests and blobs out of it
	Star     = "star"     // say that one likes it
	Describe = "describe" // write its description and README
	Settings = "settings" // make it public or private, remove it
)

// Role is how near somebody is to a name's repositories, from far to near.
type Role int

// The roles. A user is the owner of what stands below their own name.
const (
	Nobody   Role = iota // has not said who they are
	Stranger             // a user, but no member
	Reader
	Writer
	Admin
	Owner
)

var roleNames = []string{"nobody", "stranger", "reader", "writer", "admin", "owner"}

func (r Role) String() string { return roleNames[r] }

// ParseRole reads a role that members can have: reader, writer, admin or owner.
func ParseRole(name string) (Role, bool) {
	i := slices.Index(roleNames, name)
	return Role(i), i >= int(Reader)
}

// rights is the least role for each action, in private and in public repositories. It
// is the one place where that is decided. One that is not there yet counts as private.
var rights = map[string]struct{ private, public Role }{
	Pull:     {Reader, Nobody},
	Star:     {Reader, Stranger},
	Push:     {Writer, Writer},
	Describe: {Writer, Writer},
	Delete:   {Admin, Admin},
	Settings: {Admin, Admin},
}

// May reports whether somebody of that role may do it.
func May(role Role, public bool, action string) bool {
	row, ok := rights[action]
	if public {
		return ok && role >= row.public
	}
	return ok && role >= row.private
}

// OwnerOf is the user or organisation that a repository belongs to: the first part of
// its name, `library` for a name of one part.
func OwnerOf(repo string) string {
	owner, _, ok := strings.Cut(repo, "/")
	if !ok {
		return "library"
	}
	return owner
}

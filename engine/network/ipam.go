package network

import (
	"crypto/rand"
	"crypto/sha256"
	"net/netip"

	"lighter/api"
)

func randomBytes(b []byte) { rand.Read(b) } // never fails

// Split is a range that is cut into subnets of Size bits, for networks that ask for none.
type Split struct {
	Base netip.Prefix
	Size int
}

// DefaultPools are those that Docker takes by default.
func DefaultPools() []Split {
	var list []Split
	for _, p := range []string{"172.17.0.0/16", "172.18.0.0/16", "172.19.0.0/16", "172.20.0.0/14", "172.24.0.0/14", "172.28.0.0/14"} {
		list = append(list, Split{netip.MustParsePrefix(p), 16})
	}
	return append(list, Split{netip.MustParsePrefix("192.168.0.0/16"), 20})
}

// ULA is a range of local IPv6 subnets of /64 that hardly anybody else has; it is always the
// same for one seed.
func ULA(seed string) Split {
	sum := sha256.Sum256([]byte("lighter ULA " + seed))
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:6], sum[:])
	return Split{netip.PrefixFrom(netip.AddrFrom16(a), 48), 64}
}

// at gives a split's subnet number i.
func (s Split) at(i uint64) (netip.Prefix, bool) {
	if n := s.Size - s.Base.Bits(); n < 64 && i >= 1<<n {
		return netip.Prefix{}, false
	}
	b := s.Base.Addr().AsSlice()
	for bit := s.Size - 1; bit >= s.Base.Bits() && i > 0; bit-- {
		if i&1 == 1 {
			b[bit/8] |= 1 << (7 - bit%8)
		}
		i >>= 1
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, s.Size), true
}

// maxTries bounds how many subnets of one range are looked at.
const maxTries = 1 << 16

var errNoSubnets = api.Errorf(api.Invalid, "all predefined address pools have been fully subnetted")

// freeSubnet gives the first subnet of the default pools that touches none of those taken.
func freeSubnet(pools []Split, v6 bool, taken []netip.Prefix) (netip.Prefix, error) {
	for _, s := range pools {
		if s.Base.Addr().Is6() != v6 {
			continue
		}
	next:
		for i := uint64(0); i < maxTries; i++ {
			p, ok := s.at(i)
			if !ok {
				break
			}
			for _, t := range taken {
				if t.Overlaps(p) {
					if t.Bits() <= s.Base.Bits() {
						break next // all of it
					}
					continue next
				}
			}
			return p, nil
		}
	}
	return netip.Prefix{}, errNoSubnets
}

// last is a prefix's last address: IPv4's broadcast address.
func last(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// reserved reports whether an address of a subnet is nobody's: its first, and IPv4's last.
func reserved(subnet netip.Prefix, a netip.Addr) bool {
	if a.Is4() {
		return subnet.Bits() < 31 && (a == subnet.Masked().Addr() || a == last(subnet))
	}
	return a == subnet.Masked().Addr()
}

// pick gives the first free address of a range of a subnet.
func pick(p *pool, taken map[netip.Addr]bool) (netip.Addr, bool) {
	from := p.Range
	if !from.IsValid() {
		from = p.Subnet
	}
	for a := from.Masked().Addr(); from.Contains(a); a = a.Next() {
		if !reserved(p.Subnet, a) && !taken[a] {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// address takes an address of one family for an endpoint: the one that is wanted, if it is
// valid. The lock is held.
func (n *network) address(v6 bool, want netip.Addr) (netip.Prefix, error) {
	for i := range n.Pools {
		p := &n.Pools[i]
		if p.v6() != v6 || want.IsValid() && !p.Subnet.Contains(want) {
			continue
		}
		a, ok := want, true
		if !want.IsValid() {
			a, ok = pick(p, n.taken)
		} else if n.taken[a] || reserved(p.Subnet, a) {
			return netip.Prefix{}, api.Errorf(api.Forbidden, "Address already in use")
		}
		if ok {
			n.taken[a] = true
			return netip.PrefixFrom(a, p.Subnet.Bits()), nil
		}
	}
	if want.IsValid() {
		return netip.Prefix{}, api.Errorf(api.Invalid, "invalid address %s: It does not belong to any of this network's subnets", want)
	}
	family := 4
	if v6 {
		family = 6
	}
	return netip.Prefix{}, api.Errorf(api.Internal, "no available IPv%d addresses on this network's address pools: %s (%s)", family, n.Name, n.ID)
}

// free gives back an address; the lock is held.
func (n *network) free(p netip.Prefix) {
	if p.IsValid() {
		delete(n.taken, p.Addr())
	}
}

package net

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// errNoTables is the answer of a kernel without packet filters.
var errNoTables = errors.New("this kernel has no nftables: CONFIG_NF_TABLES is missing (module nf_tables); lighterd --firewall=none does without")

// Table is an nftables table of family inet, as it is to be. What changes from one moment
// to the next is mostly elements of sets, so that a port more is one element more.
type Table struct {
	name   string
	chains []chain
	sets   []*set
}

// chain is a list of rules; one with a hook is where packets come in.
type chain struct {
	name  string
	hook  *hook
	rules []string // encoded
}

type hook struct {
	kind     string // filter or nat
	number   uint32
	priority int32
}

// set is a set, or a map when it has data.
type set struct {
	name    string
	key     field
	data    field             // none for a set
	verdict bool              // the data is a chain to go to
	elems   map[string]string // key → data, as the kernel has them in registers
}

// field is a type of values: its number, by which the nft program shows it, and its size in bytes.
type field struct{ number, size uint32 }

// The numbers of nft's types.
var (
	typeAddr4   = field{7, 4}
	typeAddr6   = field{8, 16}
	typeProto   = field{12, 1}
	typeService = field{13, 2}
	typeName    = field{41, unix.IFNAMSIZ}
)

const typeVerdict = 0xffffff00

// joined is the type of several values one after the other.
func joined(parts ...field) field {
	var f field
	for _, p := range parts {
		f.number, f.size = f.number<<6|p.number, f.size+(p.size+3)&^3
	}
	return f
}

// Connect opens a socket for tables, in the calling thread's namespace.
func Connect() (*Conn, error) { return dial(unix.NETLINK_NETFILTER) }

const (
	nftBatchBegin = 0x10
	nftBatchEnd   = 0x11
)

// head begins messages about tables.
func head(family uint8, res uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, res)
}

// transaction is messages about tables.
type transaction struct{ Batch }

// nft begins a message about a table.
func (b *transaction) nft(kind int, flags uint16, what string) {
	b.message(unix.NFNL_SUBSYS_NFTABLES<<8|kind, flags, what, head(unix.NFPROTO_INET, 0)...)
}

// commit sends what fill puts in a batch, all of which is done, or nothing.
func (c *Conn) commit(fill func(*transaction)) error {
	b := transaction{Batch{whole: true}}
	b.message(nftBatchBegin, 0, "change the packet filter", head(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)...)
	fill(&b)
	if len(b.what) == 1 {
		return nil
	}
	// The last one's acknowledgement stands for all: one each would overflow the socket.
	flags := b.buf[b.start+6:]
	order.PutUint16(flags, order.Uint16(flags)|unix.NLM_F_ACK)
	last := len(b.what)
	b.message(nftBatchEnd, 0, "", head(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES)...)
	return c.do(&b.Batch, last)
}

// Replace makes the table what want says, where have is what it was made last; nil when
// that is not known, and then whatever the kernel has goes. No packet sees anything between.
func (c *Conn) Replace(have, want *Table) error {
	return c.commit(func(b *transaction) {
		if have == nil {
			b.table(unix.NFT_MSG_NEWTABLE, want.name) // so that there is one to remove
			b.table(unix.NFT_MSG_DELTABLE, want.name)
			b.table(unix.NFT_MSG_NEWTABLE, want.name)
			have = &Table{}
		}
		b.difference(have, want)
	})
}

// Remove takes a table away. One that is absent is fine.
func (c *Conn) Remove(table string) error {
	return c.commit(func(b *transaction) {
		b.table(unix.NFT_MSG_NEWTABLE, table)
		b.table(unix.NFT_MSG_DELTABLE, table)
	})
}

// Tables lists the tables of all families by name.
func (c *Conn) Tables() ([]string, error) {
	var b Batch
	b.message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, "list the packet filter's tables", head(unix.NFPROTO_UNSPEC, 0)...)
	var list []string
	err := c.dump(&b, func(_ uint16, body []byte) {
		attrs(body[min(4, len(body)):], func(kind int, v []byte) {
			if kind == unix.NFTA_TABLE_NAME {
				list = append(list, trimmed(v))
			}
		})
	})
	return list, err
}

// Generation counts the changes of all tables.
func (c *Conn) Generation() (n uint32, err error) {
	var b Batch
	b.message(unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN, unix.NLM_F_ACK, "ask for the packet filter's generation", head(unix.NFPROTO_UNSPEC, 0)...)
	err = c.dump(&b, func(_ uint16, body []byte) {
		attrs(body[min(4, len(body)):], func(kind int, v []byte) {
			if kind == unix.NFTA_GEN_ID && len(v) == 4 {
				n = binary.BigEndian.Uint32(v)
			}
		})
	})
	return n, err
}

func (b *transaction) table(kind int, name string) {
	flags, what := uint16(0), "remove packet filter table "
	if kind == unix.NFT_MSG_NEWTABLE {
		flags, what = unix.NLM_F_CREATE, "make packet filter table "
	}
	b.nft(kind, flags, what+name)
	b.text(unix.NFTA_TABLE_NAME, name)
}

// difference asks for what leads from one table to the other. Elements go before the
// chains that they lead to, and come after them.
func (b *transaction) difference(have, want *Table) {
	old := map[string]chain{}
	for _, c := range have.chains {
		old[c.name] = c
	}
	oldSets := map[string]*set{}
	for _, s := range have.sets {
		oldSets[s.name] = s
	}
	for id, s := range want.sets {
		if had := oldSets[s.name]; had == nil {
			b.newSet(want.name, s, uint32(id+1))
		} else {
			b.elements(unix.NFT_MSG_DELSETELEM, want.name, had, changed(had.elems, s.elems))
		}
	}
	for _, c := range want.chains {
		if _, had := old[c.name]; !had {
			b.newChain(want.name, c)
		}
	}
	for _, c := range want.chains {
		had := old[c.name]
		delete(old, c.name)
		if slices.Equal(had.rules, c.rules) {
			continue
		}
		if len(had.rules) > 0 {
			b.empty(want.name, c.name)
		}
		for _, r := range c.rules {
			b.rule(want.name, c.name, r)
		}
	}
	for _, s := range want.sets {
		var had map[string]string
		if o := oldSets[s.name]; o != nil {
			had = o.elems
		}
		b.elements(unix.NFT_MSG_NEWSETELEM, want.name, s, changed(s.elems, had))
	}
	for _, name := range slices.Sorted(maps.Keys(old)) {
		b.empty(want.name, name)
		b.deleteChain(want.name, name)
	}
}

// changed are the keys in a that b has not, or has with other data, in order.
func changed(a, b map[string]string) []string {
	var keys []string
	for k, v := range a {
		if other, has := b[k]; !has || other != v {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

func (b *transaction) newSet(table string, s *set, id uint32) {
	b.nft(unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, "make packet filter set "+s.name)
	b.text(unix.NFTA_SET_TABLE, table)
	b.text(unix.NFTA_SET_NAME, s.name)
	b.net32(unix.NFTA_SET_KEY_TYPE, s.key.number)
	b.net32(unix.NFTA_SET_KEY_LEN, s.key.size)
	switch {
	case s.verdict:
		b.net32(unix.NFTA_SET_FLAGS, unix.NFT_SET_MAP)
		b.net32(unix.NFTA_SET_DATA_TYPE, typeVerdict)
		b.net32(unix.NFTA_SET_DATA_LEN, 0)
	case s.data.size > 0:
		b.net32(unix.NFTA_SET_FLAGS, unix.NFT_SET_MAP)
		b.net32(unix.NFTA_SET_DATA_TYPE, s.data.number)
		b.net32(unix.NFTA_SET_DATA_LEN, s.data.size)
	}
	b.net32(unix.NFTA_SET_ID, id)
	if s.key == typeName { // for who lists it: nft shows names in the host's byte order
		b.attr(unix.NFTA_SET_USERDATA, append([]byte{0, 4}, order.AppendUint32(nil, 1)...))
	}
}

func (b *transaction) newChain(table string, c chain) {
	b.nft(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, "make packet filter chain "+c.name)
	b.text(unix.NFTA_CHAIN_TABLE, table)
	b.text(unix.NFTA_CHAIN_NAME, c.name)
	if c.hook == nil {
		return
	}
	b.nest(unix.NFTA_CHAIN_HOOK, func() {
		b.net32(unix.NFTA_HOOK_HOOKNUM, c.hook.number)
		b.net32(unix.NFTA_HOOK_PRIORITY, uint32(c.hook.priority))
	})
	b.text(unix.NFTA_CHAIN_TYPE, c.hook.kind)
	b.net32(unix.NFTA_CHAIN_POLICY, verdictAccept)
}

// empty removes all rules of a chain.
func (b *transaction) empty(table, chain string) {
	b.nft(unix.NFT_MSG_DELRULE, 0, "empty packet filter chain "+chain)
	b.text(unix.NFTA_RULE_TABLE, table)
	b.text(unix.NFTA_RULE_CHAIN, chain)
}

func (b *transaction) deleteChain(table, chain string) {
	b.nft(unix.NFT_MSG_DELCHAIN, 0, "remove packet filter chain "+chain)
	b.text(unix.NFTA_CHAIN_TABLE, table)
	b.text(unix.NFTA_CHAIN_NAME, chain)
}

func (b *transaction) rule(table, chain, encoded string) {
	b.nft(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, "add a rule to packet filter chain "+chain)
	b.text(unix.NFTA_RULE_TABLE, table)
	b.text(unix.NFTA_RULE_CHAIN, chain)
	b.nest(unix.NFTA_RULE_EXPRESSIONS, func() { b.buf = append(b.buf, encoded...) })
}

// maxElements bounds a message's: an attribute holds 64 kB.
const maxElements = 500

func (b *transaction) elements(kind int, table string, s *set, keys []string) {
	what, flags := "add to packet filter set ", uint16(unix.NLM_F_CREATE)
	if kind == unix.NFT_MSG_DELSETELEM {
		what, flags = "remove from packet filter set ", 0
	}
	for some := range slices.Chunk(keys, maxElements) {
		b.nft(kind, flags, what+s.name)
		b.text(unix.NFTA_SET_ELEM_LIST_TABLE, table)
		b.text(unix.NFTA_SET_ELEM_LIST_SET, s.name)
		b.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
			for _, k := range some {
				b.nest(unix.NFTA_LIST_ELEM, func() { b.element(s, k, s.elems[k]) })
			}
		})
	}
}

func (b *transaction) element(s *set, key, data string) {
	b.nest(unix.NFTA_SET_ELEM_KEY, func() { b.attr(unix.NFTA_DATA_VALUE, []byte(key)) })
	switch {
	case s.verdict:
		b.nest(unix.NFTA_SET_ELEM_DATA, func() { b.verdict(verdictGoto, data) })
	case s.data.size > 0:
		b.nest(unix.NFTA_SET_ELEM_DATA, func() { b.attr(unix.NFTA_DATA_VALUE, []byte(data)) })
	}
}

// What becomes of a packet.
const (
	verdictDrop   = 0
	verdictAccept = 1
	verdictJump   = 0xfffffffd // -3
	verdictGoto   = 0xfffffffc // -4
	verdictReturn = 0xfffffffb // -5
)

func (b *Batch) verdict(code uint32, chain string) {
	b.nest(unix.NFTA_DATA_VERDICT, func() {
		b.net32(unix.NFTA_VERDICT_CODE, code)
		if chain != "" {
			b.text(unix.NFTA_VERDICT_CHAIN, chain)
		}
	})
}

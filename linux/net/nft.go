package net

import "errors"

// errNoTables is the answer of a kernel without packet filters.
var errNoTables = errors.New("this kernel has no nftables: it needs CONFIG_NF_TABLES, CONFIG_NF_TABLES_INET and CONFIG_NFT_NAT (modules nf_tables and nft_chain_nat)")

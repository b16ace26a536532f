"""What nobody may read over our shoulder: the type, the vault's format, its password, keys and certificates."""

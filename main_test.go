package backup_test

import _ "github.com/tomo-project/backup/internal/seal/sealtest" // keys of passphrases are cheap

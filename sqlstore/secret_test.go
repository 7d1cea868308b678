package sqlstore

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNamesTellWhatIsSecret(t *testing.T) {
	for is, names := range map[verdict]string{
		secret: "password passwd user_pwd smtpPassword PasswordHash password2 old_passwd client_secret secret access_token refreshToken tokens api_key APIKey1 apikey API_KEYS private_key privkey ssh_key api_key_hash " +
			"accesstoken clientsecret userpassword smtppass authtoken pwhash ssh_private private_key_pem mnemonic credential credentials passphrase totp otp_secret cookie pin dsn jwt " +
			"discord_webhook_link slack_webhook_link webhook_url webhookUrl webhook proxy_url http_proxy_url database_url connection_string share_code share_link invite_code recovery_codes backup_code access_code password_reset_token",
		ofSession: "session_id sessionid sid session_key session_data",
		perhaps:   "stripe_key plugin_key license_server_key",
		noSecret: "id name passenger passes_at compass spin pinned secretary tokenizer keyboard key public_key sort_key primary_key monkey code zip_code country_code url link website_url " +
			"meta_key storage_key object_key config_key passwd_min_length private is_private repo_private private_notes user_password_expires password_changed_at must_change_password has_password " +
			"token_type token_count user_token_id secret_name key_id webhook_id sessions session_count proxy proxy_port",
	} {
		for name := range strings.FieldsSeq(names) {
			require.Equal(t, is, judge(name), name)
		}
	}
}

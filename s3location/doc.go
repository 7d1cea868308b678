// Package s3location keeps backups in a bucket of S3, or of a service with the
// same protocol. It implements [location.Location].
//
//	cfg, err := config.LoadDefaultConfig(ctx) // of aws-sdk-go-v2/config
//	m.Locations = append(m.Locations, &s3location.Location{
//		Client: s3.NewFromConfig(cfg), Bucket: "example-backups", Prefix: "tomo",
//	})
//
// The client decides about the region, the endpoint, the credentials,
// path-style addresses and how often a request is tried again.
//
// # What the service must do
//
// It must honour "If-None-Match: *" when an object is put, as S3 does.
// Otherwise a backup could overwrite another. Put tests this with the first
// file that fits into one request: it sends the file again and expects a
// refusal. If there is none, Put removes the file and returns an error that
// wraps errors.ErrUnsupported. The service must also serve ranges and keep the
// metadata of objects. If it does not know SHA-256 checksums, set
// RequestChecksumCalculation of the client to WhenRequired: then the checksums
// are MD5.
//
// # Permissions
//
// A Location needs no more than this:
//
//	{
//	  "Version": "2012-10-17",
//	  "Statement": [
//	    {
//	      "Effect": "Allow",
//	      "Action": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
//	      "Resource": "arn:aws:s3:::example-backups"
//	    },
//	    {
//	      "Effect": "Allow",
//	      "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"],
//	      "Resource": "arn:aws:s3:::example-backups/tomo/*"
//	    }
//	  ]
//	}
//
// Without s3:ListBucket the service answers "access denied" where a file does
// not exist. To restrict it to the prefix, use a condition that also allows
// requests without a prefix: "StringLikeIfExists": {"s3:prefix": "tomo/*"}.
// Without s3:ListBucketMultipartUploads everything works, but the parts of
// killed uploads stay.
//
// # Killed uploads
//
// A file of 8 MiB or more is uploaded in parts. If the process is killed during
// an upload, the parts are invisible but cost money. A later Put removes them
// when they are two days old. A rule of the bucket removes them even if there
// is no later Put:
//
//	{
//	  "Rules": [{
//	    "ID": "abort-uploads", "Status": "Enabled", "Filter": {"Prefix": "tomo/"},
//	    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3}
//	  }]
//	}
//
// Let no rule of the bucket delete backups or move them to an archive. The
// Manager decides which backups to delete, and it must be able to read them for
// that.
//
// # Versions and locks
//
// In a bucket with versions, Delete only hides a file. Its space is free when a
// rule of the bucket drops the old version. Object Lock needs versions, so
// Delete works there too, and the version stays for as long as it is locked.
// That protects backups from a thief with the credentials of the host. The
// small files that a Manager makes and removes while it holds the Location also
// stay as versions. A service that has locks without versions refuses the
// Delete, with an error that wraps fs.ErrPermission. A Manager cannot work
// there.
//
// # Encryption
//
// Whoever may read the bucket can read the backups. To hide them from the
// provider, encrypt whole files with [backup.BackupOptions].Encrypt or the
// Encrypt of the Manager. Seal the secrets in any case. Encryption by the
// bucket itself (SSE-S3, SSE-KMS) needs no setting here; SSE-KMS needs the
// permissions kms:GenerateDataKey and kms:Decrypt.
package s3location

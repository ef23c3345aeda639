"""Self-signed client certificates: NAME.pem and NAME.key in DIRECTORY.

    certificates.py DIRECTORY NAME...
"""

import datetime
import os
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


def write(file, content):
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(content)


def make(directory, client):
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, client)])
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=7))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    write(directory / f"{client}.pem", certificate.public_bytes(pem))
    write(directory / f"{client}.key", key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for name in sys.argv[2:]:
        make(target, name)

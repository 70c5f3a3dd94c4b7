"""cryptography: a text encrypted."""

from cryptography.fernet import Fernet

from bg_charm_service import Charm


class CryptographySeal(Charm):
    """Encrypts and decrypts."""

    text: str = ""

    def bg_updater(self, event: dict) -> None:
        box = Fernet(Fernet.generate_key())
        self.text = box.decrypt(box.encrypt(b"hello")).decode()

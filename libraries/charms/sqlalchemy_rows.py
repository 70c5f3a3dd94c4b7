"""sqlalchemy: rows of SQLite, by its ORM."""

from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bg_charm_service import Charm


class Base(DeclarativeBase):
    """What tables are made from."""


class Note(Base):
    """A row."""

    __tablename__ = "notes"
    key: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class SqlalchemyRows(Charm):
    """Writes rows and counts them."""

    count: int = 0

    def bg_updater(self, event: dict) -> None:
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add_all([Note(text=str(number)) for number in range(100)])
            session.flush()
            self.count = session.scalar(select(func.count(Note.key)))
        engine.dispose()

"""Downloads: a list's items flow in; media files, their facts and one outcome each flow out."""
